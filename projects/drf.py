"""Ways to log in to the API: a person's token, or a project's key."""

from dataclasses import dataclass
from typing import Any

from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from projects.authentication import KeyRefused, KeyStoreUnavailable, authenticate, secret_from
from projects.keyring import Grant
from projects.keys import KeyKind


class TokenAuthentication(KnoxTokenAuthentication):  # type: ignore[misc]  # knox has no types
    """A person's API token. Bytes that no token has are refused here: knox would fail on them with a 500."""

    def authenticate_credentials(self, token: bytes) -> Any:
        if not token.isascii() or not token.decode("ascii").isprintable():
            raise exceptions.AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)


@dataclass(frozen=True)
class KeyHolder:
    """`request.user` where a key was shown instead of a person's login; `request.auth` is its grant."""

    project_id: int
    pk: None = None
    is_authenticated: bool = True
    is_anonymous: bool = False
    is_active: bool = True
    is_staff: bool = False
    is_superuser: bool = False


class KeyAuthentication(BaseAuthentication):
    """Authenticates by a project's key of one kind, from the mirror: PostgreSQL is not asked.

    A request without a key is left to other ways. Refusals are 401 or 403 with a code, 503 if Valkey is away.
    """

    kind: KeyKind

    def authenticate(self, request: Request) -> tuple[KeyHolder, Grant] | None:
        meta = request.META
        secret = secret_from(
            meta.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace"),
            meta.get("HTTP_X_API_KEY", "").encode("latin-1", "replace"),
            meta.get("QUERY_STRING", "").encode("latin-1", "replace"),
        )
        if secret is None:
            return None
        try:
            grant = authenticate(secret, self.kind)
        except (KeyRefused, KeyStoreUnavailable) as error:
            refusal = exceptions.APIException(str(error), code=error.code.value)
            refusal.status_code = error.status
            raise refusal from error
        return KeyHolder(grant.project_id), grant

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ReadKeyAuthentication(KeyAuthentication):
    """For endpoints that answer questions about the key's own project (`request.auth.project_id`)."""

    kind = KeyKind.READ


class WriteKeyAuthentication(KeyAuthentication):
    """For endpoints that take events for the key's own project (`request.auth.project_id`)."""

    kind = KeyKind.WRITE
