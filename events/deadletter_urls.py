"""Under /api/projects/<id>/: dead letters, their replays, and the way of one event. With and without the last slash."""

from django.urls import URLPattern, re_path
from rest_framework.views import APIView

from events import deadletter_acts_api as acts
from events import deadletter_api as api
from events import replay_api as replays
from events.trace_api import TraceView

PROJECT = r"^api/projects/(?P<project_id>[0-9]{1,18})/"
REPLAY = r"failures/replays/(?P<replay_id>[0-9]{1,18})"


def route(path: str, view: type[APIView], name: str) -> URLPattern:
    return re_path(rf"{PROJECT}{path}/?$", view.as_view(), name=f"api-{name}")


urlpatterns = [
    route(r"failures", api.FailureListView, "failures"),
    route(r"failures/(?P<letter_id>[0-9]{1,18})", api.FailureView, "failure"),
    route(r"failures/groups", api.FailureGroupsView, "failure-groups"),
    route(r"failures/export", api.FailureExportView, "failure-export"),
    route(r"failures/replay", acts.FailureReplayView, "failure-replay"),
    route(r"failures/discard", acts.FailureDiscardView, "failure-discard"),
    route(r"failures/check", acts.FailureCheckView, "failure-check"),
    route(r"failures/audit", api.FailureAuditView, "failure-audit"),
    route(r"failures/replays", replays.ReplayListView, "replays"),
    route(REPLAY, replays.ReplayView, "replay"),
    route(rf"{REPLAY}/stop", replays.ReplayStopView, "replay-stop"),
    route(rf"{REPLAY}/resume", replays.ReplayResumeView, "replay-resume"),
    route(r"trace/(?P<event_id>.{1,200}?)", TraceView, "trace"),
]
