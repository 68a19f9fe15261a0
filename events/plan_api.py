"""The API of the tracking plan: its owner writes it, members and read keys read it."""

from typing import Any, Final

from django.db.models import Sum
from django.urls import URLPattern, re_path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import plan_change
from events import plan_schema as shapes
from events.accept import MAX_TEXT
from events.deadletter_acts_api import Conflict
from events.deadletter_api import ReadView, readable, validated
from events.plan import draft, mirror
from events.plan.bounds import BadSchema
from events.plan_models import PlanVersion, PlanViolation
from eventsite.api import NOT_AUTHENTICATED, NOT_FOUND
from projects.api import PROJECT_ID, owned_project, person
from projects.codes import MESSAGE, Code
from projects.drf import KeyHolder
from projects.examples import NOT_OWNER
from projects.models import Project

NAME: Final = OpenApiParameter("name", str, OpenApiParameter.PATH, description="The events' name.")
FAILURES: Final = {401: NOT_AUTHENTICATED, 404: NOT_FOUND}
MAX_VERSIONS: Final = 100


def planned(project_id: int, name: str) -> PlanVersion:
    """Returns the version in force; 404 where the name has no plan."""
    version = mirror.in_force(project_id).filter(name=known_name(name)).first()
    if version is None:
        raise exceptions.NotFound
    return version


def known_name(name: str) -> str:
    """What no event can be called is no name: 404."""
    if len(name) > MAX_TEXT or not name.strip() or "\0" in name:
        raise exceptions.NotFound
    return name


@extend_schema(tags=["plan"])
class PlanListView(ReadView):
    @extend_schema(
        operation_id="plan_list",
        summary="The names that have a tracking plan, with their violations",
        parameters=[PROJECT_ID],
        examples=[
            shapes.answers(
                "Names",
                {
                    "results": [
                        {name: shapes.PLAN[name] for name in ("name", "version", "mode", "by", "created_at")}
                        | {"violations": 12}
                    ]
                },
            )
        ],
        responses={200: shapes.PlanListSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        own = readable(request, project_id)
        rows = PlanViolation.objects.filter(project_id=own).order_by()
        counts = dict(rows.values_list("name").annotate(events=Sum("events")))
        versions = list(mirror.in_force(own).defer("schema", "changes"))
        for version in versions:
            version.violations = counts.get(version.name, 0)  # type: ignore[attr-defined]
        return Response(shapes.PlanListSerializer({"results": versions}).data)


@extend_schema(tags=["plan"])
class PlanView(ReadView):
    @extend_schema(
        operation_id="plan_retrieve",
        summary="The plan of one name that is in force",
        parameters=[PROJECT_ID, NAME],
        examples=[shapes.answers("Plan", shapes.PLAN)],
        responses={200: shapes.PlanSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str, name: str) -> Response:
        return Response(shapes.PlanSerializer(planned(readable(request, project_id), name)).data)

    @extend_schema(
        operation_id="plan_update",
        summary="Make a new version of a name's plan",
        description="It is in force everywhere within 5 s. Where nothing differs no version is made. `off` ends a plan.",
        parameters=[PROJECT_ID, NAME],
        request=shapes.ChangePlanSerializer,
        examples=[shapes.ASK, shapes.answers("Plan", shapes.PLAN)],
        responses={
            200: shapes.PlanSerializer,
            400: shapes.BAD_SCHEMA,
            403: NOT_OWNER,
            409: shapes.OUTDATED,
            **FAILURES,
        },
    )
    def put(self, request: Request, project_id: str, name: str) -> Response:
        project = owned_by_caller(request, project_id)
        fields = validated(shapes.ChangePlanSerializer, request.data)
        by = person(request).get_username()
        try:
            version = plan_change.change(project, known_name(name), by=by, **fields)
        except BadSchema as error:
            raise exceptions.ValidationError({error.place: [error.detail]}) from error
        except plan_change.TooManyNames as error:
            most = f"A project may have plans for {plan_change.MAX_NAMES} names."
            raise exceptions.ValidationError({"name": [most]}) from error
        except plan_change.Outdated as error:
            detail = (
                f"Version {error.version} is in force by now; you have seen version {fields['based_on']}."
            )
            raise Conflict(detail, code="outdated") from error
        return Response(shapes.PlanSerializer(version).data)


def owned_by_caller(request: Request, project_id: str) -> Project:
    """As `owned_project`; a read key owns nothing."""
    if isinstance(request.user, KeyHolder):
        readable(request, project_id)
        raise exceptions.PermissionDenied(MESSAGE[Code.NOT_OWNER], code=Code.NOT_OWNER.value)
    return owned_project(request, project_id)


@extend_schema(tags=["plan"])
class PlanVersionsView(ReadView):
    @extend_schema(
        operation_id="plan_versions",
        summary="Every version of a name's plan: who, when, and what differs",
        parameters=[PROJECT_ID, NAME],
        examples=[shapes.answers("Versions", {"results": [shapes.PLAN]})],
        responses={200: shapes.VersionsSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str, name: str) -> Response:
        latest = planned(readable(request, project_id), name)
        rows = PlanVersion.objects.filter(project_id=latest.project_id, name=latest.name)
        page = rows.order_by("-version")[:MAX_VERSIONS]
        return Response(shapes.VersionsSerializer({"results": page}).data)


@extend_schema(tags=["plan"])
class PlanDraftView(ReadView):
    @extend_schema(
        operation_id="plan_draft",
        summary="A schema that the events of a name follow",
        description="Made of what the catalogue knows; of the last 1,000 events in the database while it does not know the name"
        " yet. Nothing is changed: look it over and put it.",
        parameters=[PROJECT_ID, NAME],
        request=None,
        examples=[
            shapes.answers("Draft", {"schema": shapes.SCHEMA, "events": 1000, "drawn_from": "catalogue"})
        ],
        responses={200: shapes.DraftSerializer, **FAILURES},
    )
    def post(self, request: Request, project_id: str, name: str) -> Response:
        made = draft.draft(readable(request, project_id), known_name(name))
        return Response(shapes.DraftSerializer(made).data)


@extend_schema(tags=["plan"])
class PlanViolationsView(ReadView):
    @extend_schema(
        operation_id="plan_violations",
        summary="Where events of a name do not follow its plan, with examples",
        description="Counted by field; of one name 100 are kept, what else there is counts as `*`. Seconds behind.",
        parameters=[PROJECT_ID, NAME],
        examples=[shapes.answers("Violations", {"results": [shapes.VIOLATION]})],
        responses={200: shapes.ViolationsSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str, name: str) -> Response:
        own = readable(request, project_id)
        rows = PlanViolation.objects.filter(project_id=own, name=known_name(name)).order_by(
            "-events", "field"
        )
        return Response(shapes.ViolationsSerializer({"results": rows}).data)


def _route(path: str, view: type[APIView], name: str) -> URLPattern:
    start = r"^api/projects/(?P<project_id>[0-9]{1,18})/plan"
    return re_path(rf"{start}{path}/?$", view.as_view(), name=f"api-{name}")


urlpatterns: list[Any] = [
    _route("", PlanListView, "plans"),
    _route(r"/(?P<name>.{1,200}?)/versions", PlanVersionsView, "plan-versions"),
    _route(r"/(?P<name>.{1,200}?)/draft", PlanDraftView, "plan-draft"),
    _route(r"/(?P<name>.{1,200}?)/violations", PlanViolationsView, "plan-violations"),
    _route(r"/(?P<name>.{1,200}?)", PlanView, "plan"),
]
