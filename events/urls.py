from django.urls import include, path, re_path

from events import insights_api
from events.api import IngestView
from events.ledger_api import LedgerView
from events.live_api import LiveView

urlpatterns = [
    path("", include("events.deadletter_urls")),
    re_path(r"^api/projects/(?P<project_id>[0-9]{1,19})/ledger/?$", LedgerView.as_view(), name="api-ledger"),
    *insights_api.routes(),
    path("", include("events.events_api")),
    path("", include("events.catalogue_api")),
    path("", include("events.plan_api")),
    re_path(r"^api/projects/(?P<project_id>[0-9]{1,18})/live/?$", LiveView.as_view(), name="api-live"),
    re_path(r"^v1/events/?$", IngestView.as_view(), name="ingest"),
    re_path(r"^/v1/events/?$", IngestView.as_view(schema=None)),  # a slash too many is taken, not documented
]
