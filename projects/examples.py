"""The examples and errors that /api/docs/ shows for projects and keys."""

from drf_spectacular.utils import OpenApiExample

from eventsite.api import error_response
from projects.codes import MESSAGE, Code

NOT_OWNER = error_response("A member, but no owner", Code.NOT_OWNER, MESSAGE[Code.NOT_OWNER])
BAD_LOGIN = error_response("Wrong name or password", "invalid_credentials", "Wrong user name or password.")
TOO_MANY_LOGINS = error_response(
    "Ten wrong passwords for this name from this address within 15 minutes",
    "too_many_attempts",
    "Too many wrong passwords. Try again in 840 s.",
)

PROJECT = {
    "id": 1,
    "name": "Web shop",
    "time_zone": "Europe/Berlin",
    "created_at": "2026-01-05T09:00:00Z",
    "role": "owner",
    "quota": {"per_second": 500, "burst": 2000, "per_day": 0},
}
KEY = {
    "id": 2,
    "kind": "write",
    "name": "checkout",
    "allowed_origins": ["https://shop.example.com"],
    "prefix": "es_w_Zk3vQ",
    "created_at": "2026-01-05T09:00:00Z",
    "last_used_at": "2026-01-05T09:20:00Z",
    "revoked_at": None,
}

NEW_PROJECT = OpenApiExample(
    "New project", value={"name": "Web shop", "time_zone": "Europe/Berlin"}, request_only=True
)
RENAME = OpenApiExample("Rename", value={"name": "Web shop 2"}, request_only=True)
ONE_PROJECT = OpenApiExample("Project", value=PROJECT, response_only=True)
CREATED_PROJECT = OpenApiExample(
    "Created", value={**PROJECT, "write_key": "es_w_Zk3vQ…"}, response_only=True, status_codes=["201"]
)
NEW_KEY = OpenApiExample("New key", value={"kind": "write", "name": "checkout"}, request_only=True)
CHANGE_KEY = OpenApiExample(
    "Change", value={"allowed_origins": ["https://shop.example.com"]}, request_only=True
)
ONE_KEY = OpenApiExample("Key", value=KEY, response_only=True)
CREATED_KEY = OpenApiExample(
    "Created", value={**KEY, "secret": "es_w_Zk3vQ…"}, response_only=True, status_codes=["201"]
)
LOGIN = OpenApiExample("Login", value={"username": "ada", "password": "correct horse"}, request_only=True)
TOKEN = OpenApiExample(
    "Token", value={"token": "es_t_5f3a…", "expiry": "2027-01-05T09:00:00Z"}, response_only=True
)
