"""Why a key or a change was refused: short and stable, the same in bodies, metrics and log lines."""

from enum import StrEnum


class Code(StrEnum):
    MISSING_KEY = "missing_key"
    INVALID_KEY = "invalid_key"  # malformed, or not one of ours
    KEY_REVOKED = "key_revoked"
    WRONG_KEY_KIND = "wrong_key_kind"  # a read key where a write key is needed, or the other way round
    KEY_STORE_UNAVAILABLE = "key_store_unavailable"  # Valkey is away: the key may be right, ask again
    NOT_OWNER = "not_owner"


STATUS: dict[Code, int] = {
    Code.MISSING_KEY: 401,
    Code.INVALID_KEY: 401,
    Code.KEY_REVOKED: 403,
    Code.WRONG_KEY_KIND: 403,
    Code.KEY_STORE_UNAVAILABLE: 503,
    Code.NOT_OWNER: 403,
}

MESSAGE: dict[Code, str] = {
    Code.MISSING_KEY: "No key. Send it as 'Authorization: Bearer KEY', as 'X-Api-Key: KEY', "
    "as the user name of HTTP Basic, or as ?key=KEY.",
    Code.INVALID_KEY: "This key is not known.",
    Code.KEY_REVOKED: "This key was revoked.",
    Code.WRONG_KEY_KIND: "This key is of the other kind: es_w_ keys send events, es_r_ keys ask questions.",
    Code.KEY_STORE_UNAVAILABLE: "Keys cannot be checked at the moment. Try again.",
    Code.NOT_OWNER: "Only an owner of the project may do this.",
}
