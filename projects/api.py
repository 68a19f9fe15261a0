"""The API of projects, keys and tokens."""

from typing import cast

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from knox.views import LoginView as KnoxLoginView
from knox.views import LogoutAllView as KnoxLogoutAllView
from knox.views import LogoutView as KnoxLogoutView
from rest_framework import exceptions, status, viewsets
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from eventsite.api import INVALID, NOT_AUTHENTICATED, NOT_FOUND
from projects import attempts, examples, services
from projects.access import projects_of
from projects.codes import MESSAGE, Code
from projects.drf import TokenAuthentication
from projects.models import ApiKey, Project, Role
from projects.serializers import (
    ChangeKeySerializer,
    CreatedKeySerializer,
    CreatedProjectSerializer,
    KeySerializer,
    LoginSerializer,
    ProjectSerializer,
    TokenSerializer,
)

PROJECT_ID = OpenApiParameter("project_id", int, OpenApiParameter.PATH)
KEY_ID = OpenApiParameter("key_id", int, OpenApiParameter.PATH)
FAILURES = {401: NOT_AUTHENTICATED, 404: NOT_FOUND}
OWNER_FAILURES = {**FAILURES, 403: examples.NOT_OWNER}


def person(request: Request) -> User:
    """Returns who is logged in; the default permission has refused everybody else."""
    return cast(User, request.user)


def project_or_404(request: Request, project_id: str | int) -> Project:
    """Returns a project of the caller's, with its `role`. Another person's is as absent as none."""
    return get_object_or_404(projects_of(request.user), pk=project_id)


def owned_project(request: Request, project_id: str) -> Project:
    """Returns a project that the caller may change: 404 to an outsider, 403 `not_owner` to a member."""
    project = project_or_404(request, project_id)
    if project.role != Role.OWNER:  # type: ignore[attr-defined]  # annotated
        raise exceptions.PermissionDenied(MESSAGE[Code.NOT_OWNER], code=Code.NOT_OWNER.value)
    return project


@extend_schema(tags=["projects"])
class ProjectViewSet(viewsets.GenericViewSet[Project]):
    serializer_class = ProjectSerializer
    queryset = Project.objects.none()

    def get_queryset(self) -> QuerySet[Project]:
        return projects_of(self.request.user)

    @extend_schema(
        summary="Your projects",
        examples=[examples.ONE_PROJECT],
        responses={200: ProjectSerializer(many=True), 401: NOT_AUTHENTICATED},
    )
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        return self.get_paginated_response(ProjectSerializer(page, many=True).data)

    @extend_schema(
        summary="Create a project; its write key is shown once",
        description="You become its owner.",
        request=ProjectSerializer,
        examples=[examples.NEW_PROJECT, examples.CREATED_PROJECT],
        responses={201: CreatedProjectSerializer, 400: INVALID, 401: NOT_AUTHENTICATED},
    )
    def create(self, request: Request) -> Response:
        body = ProjectSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        project, write_key = services.create_project(owner=person(request), **body.validated_data)
        answer = {**ProjectSerializer(project_or_404(request, project.pk)).data, "write_key": write_key}
        return Response(answer, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="One project",
        parameters=[PROJECT_ID],
        examples=[examples.ONE_PROJECT],
        responses={200: ProjectSerializer, **FAILURES},
    )
    def retrieve(self, request: Request, project_id: str) -> Response:
        return Response(ProjectSerializer(project_or_404(request, project_id)).data)

    @extend_schema(
        summary="Rename a project, or move its time zone",
        parameters=[PROJECT_ID],
        examples=[examples.RENAME, examples.ONE_PROJECT],
        responses={200: ProjectSerializer, 400: INVALID, **OWNER_FAILURES},
    )
    def partial_update(self, request: Request, project_id: str) -> Response:
        project = owned_project(request, project_id)
        body = ProjectSerializer(project, data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        services.change_project(project, **body.validated_data)
        return Response(ProjectSerializer(project).data)

    @extend_schema(
        summary="Delete a project",
        description="Its keys stop within seconds; its data is removed by and by.",
        parameters=[PROJECT_ID],
        responses={204: None, **OWNER_FAILURES},
    )
    def destroy(self, request: Request, project_id: str) -> Response:
        services.delete_project(owned_project(request, project_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema(tags=["keys"])
class KeyViewSet(viewsets.GenericViewSet[ApiKey]):
    serializer_class = KeySerializer
    queryset = ApiKey.objects.none()

    @extend_schema(
        summary="A project's keys, revoked ones included",
        parameters=[PROJECT_ID],
        examples=[examples.ONE_KEY],
        responses={200: KeySerializer(many=True), **FAILURES},
    )
    def list(self, request: Request, project_id: str) -> Response:
        keys = project_or_404(request, project_id).keys.order_by("id")
        return self.get_paginated_response(KeySerializer(self.paginate_queryset(keys) or [], many=True).data)

    @extend_schema(
        summary="Create a key; its secret is shown once",
        parameters=[PROJECT_ID],
        request=KeySerializer,
        examples=[examples.NEW_KEY, examples.CREATED_KEY],
        responses={201: CreatedKeySerializer, 400: INVALID, **OWNER_FAILURES},
    )
    def create(self, request: Request, project_id: str) -> Response:
        project = owned_project(request, project_id)
        body = KeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            key, secret = services.create_key(project=project, by=person(request), **body.validated_data)
        except Project.DoesNotExist as gone:  # deleted since it was looked up
            raise exceptions.NotFound from gone
        return Response({**KeySerializer(key).data, "secret": secret}, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Rename a key, or say which origins' pages may send with it",
        description="Other origins count within seconds.",
        parameters=[PROJECT_ID, KEY_ID],
        request=ChangeKeySerializer,
        examples=[examples.CHANGE_KEY, examples.ONE_KEY],
        responses={200: KeySerializer, 400: INVALID, **OWNER_FAILURES},
    )
    def partial_update(self, request: Request, project_id: str, key_id: str) -> Response:
        key = get_object_or_404(owned_project(request, project_id).keys, pk=key_id)
        body = ChangeKeySerializer(key, data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        services.change_key(key, **body.validated_data)
        return Response(KeySerializer(key).data)

    @extend_schema(
        summary="Revoke a key",
        description="It stops within seconds and for good. A second call changes nothing.",
        parameters=[PROJECT_ID, KEY_ID],
        responses={204: None, **OWNER_FAILURES},
    )
    def destroy(self, request: Request, project_id: str, key_id: str) -> Response:
        services.revoke_key(get_object_or_404(owned_project(request, project_id).keys, pk=key_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class WrongLogin(exceptions.APIException):
    status_code = status.HTTP_401_UNAUTHORIZED
    default_code = "invalid_credentials"
    default_detail = "Wrong user name or password."


class TooManyAttempts(exceptions.Throttled):
    default_code = "too_many_attempts"
    default_detail = "Too many wrong passwords."
    extra_detail_singular = extra_detail_plural = "Try again in {wait} s."


class LoginView(KnoxLoginView):  # type: ignore[misc]  # knox has no types
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["auth"],
        summary="Get a token, for 'Authorization: Token …'",
        request=LoginSerializer,
        examples=[examples.LOGIN, examples.TOKEN],
        responses={
            200: TokenSerializer,
            400: INVALID,
            401: examples.BAD_LOGIN,
            429: examples.TOO_MANY_LOGINS,
        },
    )
    def post(self, request: Request, format: str | None = None) -> Response:
        body = LoginSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        who = (request.META.get("REMOTE_ADDR", ""), body.validated_data["username"])
        if wait := attempts.standing(*who).wait_seconds:
            raise TooManyAttempts(wait)
        user = authenticate(request, **body.validated_data)
        if user is None:
            attempts.failed(*who)
            raise WrongLogin
        attempts.succeeded(*who)
        request.user = user
        return cast(Response, super().post(request, format))


class LogoutView(KnoxLogoutView):  # type: ignore[misc]
    authentication_classes = (TokenAuthentication,)

    @extend_schema(
        tags=["auth"], summary="End this token", request=None, responses={204: None, 401: NOT_AUTHENTICATED}
    )
    def post(self, request: Request, format: str | None = None) -> Response:
        return cast(Response, super().post(request, format))


class LogoutAllView(KnoxLogoutAllView):  # type: ignore[misc]
    authentication_classes = (TokenAuthentication,)

    @extend_schema(
        tags=["auth"],
        summary="End all your tokens",
        request=None,
        responses={204: None, 401: NOT_AUTHENTICATED},
    )
    def post(self, request: Request, format: str | None = None) -> Response:
        return cast(Response, super().post(request, format))
