from django.urls import re_path

from events.api import IngestView

urlpatterns = [
    re_path(r"^v1/events/?$", IngestView.as_view(), name="ingest"),
    re_path(r"^/v1/events/?$", IngestView.as_view(schema=None)),  # a slash too many is taken, not documented
]
