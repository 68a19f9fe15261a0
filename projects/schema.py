"""How the API docs name the ways to log in."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from projects.drf import ReadKeyAuthentication, TokenAuthentication, WriteKeyAuthentication


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token es_t_…`, from /api/auth/login/.",
        }


class ReadKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = ReadKeyAuthentication
    name = "readKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A project's read key, `es_r_…`."}


class WriteKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = WriteKeyAuthentication
    name = "writeKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A project's write key, `es_w_…`."}
