from django.urls import include, path, re_path

from events.api import IngestView
from events.ledger_api import LedgerView

urlpatterns = [
    path("", include("events.deadletter_urls")),
    re_path(r"^api/projects/(?P<project_id>[0-9]{1,19})/ledger/?$", LedgerView.as_view(), name="api-ledger"),
    re_path(r"^v1/events/?$", IngestView.as_view(), name="ingest"),
    re_path(r"^/v1/events/?$", IngestView.as_view(schema=None)),  # a slash too many is taken, not documented
]
