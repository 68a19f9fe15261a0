"""Check: one event's properties held against the schema of its name."""

import logging
from typing import Any, Final

import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from events.plan.bounds import BadSchema, look_at

MAX_DETAIL: Final = 300
MAX_VALUE: Final = 80
MAX_FIELD: Final = 200
ANY: Final = "*"
MASK: Final = "it"  # stands in messages where the value would
NO_PATTERN: Final = (
    "It is no pattern that is taken: without look-around and references to groups, and not too large."
)
# Patterns run in linear time, without look-around; these bound their memory, and so that time.
_PATTERNS: Final = RegexOptions(size_limit=200_000, dfa_size_limit=200_000)

log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder().decode


class Violation(msgspec.Struct, frozen=True):
    """What is wrong at one place: `field` like properties.items.3.price, `group` the same with `*` for any element."""

    field: str
    group: str
    detail: str
    value: str  # the beginning of what stands there, as JSON


def compile_schema(schema: Any) -> Draft202012Validator:
    """Takes a schema as values. Raises BadSchema with the place. Fetches nothing."""
    look_at(schema)
    try:
        return Draft202012Validator(
            schema, validate_formats=True, offline=True, pattern_options=_PATTERNS, mask=MASK
        )
    except ValidationError as error:
        place = ".".join(["schema", *map(str, error.instance_path)])
        is_pattern = error.kind.as_dict().get("format") == "regex"
        raise BadSchema(place, NO_PATTERN if is_pattern else _sentence(error.message)) from None
    except ValueError as error:  # a pattern that only the compiler refuses
        raise BadSchema("schema", _sentence(str(error).partition("\n")[0])) from None


class Check:
    """A version of the plan of one name; compiled when it is first needed, 30 µs for a usual one."""

    __slots__ = ("_schema", "_validator", "mode", "name", "version")

    def __init__(self, name: str, mode: str, version: int, schema: bytes | msgspec.Raw) -> None:
        self.name, self.mode, self.version = name, mode, version
        self._schema = bytes(schema)
        self._validator: Draft202012Validator | None = None

    def violation(self, properties: bytes | msgspec.Raw) -> Violation | None:
        """Takes `properties` as JSON, returns what is wrong first, None where they follow the plan. About 1.5 µs.

        Only the first: all of them, of an array of half a million, took 12 s and 700 MB. Raises msgspec.DecodeError where
        they cannot be read.
        """
        validator = self._validator or self._compile()
        value = _decode(properties)
        if validator.is_valid(value):
            return None
        try:
            validator.validate(value)
        except ValidationError as error:
            return _violation(error)
        return None

    def _compile(self) -> Draft202012Validator:
        try:
            self._validator = compile_schema(_decode(self._schema))
        except (BadSchema, msgspec.MsgspecError, RecursionError):
            # It was taken once: only another release can refuse it, and events must not suffer from that.
            log.exception(
                "version %s of a tracking plan cannot be compiled; it lets everything pass", self.version
            )
            self._validator = Draft202012Validator(True)
        return self._validator


def _violation(error: ValidationError) -> Violation:
    path = ["properties", *error.instance_path]
    details = error.kind.as_dict()
    said = " ".join(error.message.split())
    if error.kind.name == "required":
        path.append(str(details["property"]))
        said = f"{MASK} is required"
    elif error.kind.name in ("additionalProperties", "unevaluatedProperties") and details.get("unexpected"):
        path.append(str(details["unexpected"][0]))
        said = f"{MASK} is not allowed: the schema knows no such property"
    group = [ANY if isinstance(step, int) else step for step in path]
    return Violation(
        field=".".join(map(str, path))[:MAX_FIELD],
        group=".".join(group)[:MAX_FIELD],
        detail=_told(".".join(map(str, path[1:])) or "properties", said),
        value=_beginning(error.instance),
    )


def _told(name: str, said: str) -> str:
    """It can be read alone: with the name of what is wrong, as the other refusals have it (`name` is required.)."""
    shown = f"`{name[:MAX_FIELD]}`"
    of_it = said.removeprefix(f"{MASK} ")
    text = f"{shown} {of_it}" if of_it != said else f"{shown}: {said}"
    return f"{text[:MAX_DETAIL].rstrip('.')}."


def _sentence(message: str) -> str:
    text = " ".join(message.split())[:MAX_DETAIL].rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _beginning(value: Any) -> str:
    """What stands there, as JSON, as far as it is of use."""
    if isinstance(value, list):
        value = value[:20]
    elif isinstance(value, dict):
        value = dict(list(value.items())[:20])
    elif isinstance(value, str):
        value = value[:MAX_VALUE]
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"
