"""Which events are errors, and which property is a duration: guessed by their names, until the address says it.

`error=status:ge:400` (several: any of them), `latency=load_ms`, `by=path`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from django.http import QueryDict

from events.views import known
from events.views.conditions import condition
from events.views.state import State

# Any of these is an error. Said on the page in ERRORS_SAID.
_ERRORS: Final[tuple[dict[str, Any], ...]] = (
    {"field": "name", "op": "contains", "value": "error"},
    {"field": "name", "op": "contains", "value": "exception"},
    {"field": "name", "op": "contains", "value": "crash"},
    {"field": "name", "op": "contains", "value": "failed"},
    {"property": "level", "op": "in", "value": ["error", "fatal", "critical"]},
    {"property": "status", "op": ">=", "value": 500},
    {"property": "status_code", "op": ">=", "value": 500},
)
ERRORS_SAID: Final = "name has “error”, “exception”, “crash” or “failed”; or level is error, fatal or critical; or status ≥ 500"
_LATENCIES: Final = (
    "duration_ms", "latency_ms", "response_ms", "response_time_ms", "elapsed_ms", "took_ms", "load_ms", "duration",
    "latency", "response_time", "elapsed", "load_time",
)  # fmt: skip
_OTHER_LATENCY: Final = re.compile(
    r".*_(ms|millis|milliseconds|seconds)|.*(duration|latency|elapsed).*", re.IGNORECASE
)
_GROUPS: Final = ("route", "endpoint", "path", "operation", "page", "url", "screen", "query", "job")


@dataclass(frozen=True, slots=True)
class Guesses:
    """`errors` is a filter of the API, `errors_said` the same in words and `is_wrong` why it is none; `latency` and `by` are
    properties, "" for none (then groups are names).
    """

    errors: dict[str, Any]
    errors_said: str
    errors_text: str
    latency: str
    by: str

    @property
    def unit(self) -> str:
        name = self.latency.lower()
        if name.endswith(("_ms", "millis", "milliseconds")):
            return "ms"
        return "s" if name.endswith(("seconds", "_s", "_sec")) else ""


def guesses(state: State, given: QueryDict) -> Guesses:
    errors, said, text = _errors(state, given.getlist("error"))
    properties = known.properties(state.project.pk)
    names = {one.name for one in properties}
    numbers = [one.name for one in properties if one.is_number]
    latency = next((name for name in _LATENCIES if name in numbers), "")
    latency = latency or next((name for name in numbers if _OTHER_LATENCY.fullmatch(name)), "")
    return Guesses(
        errors, said, text,
        latency=given.get("latency") or latency,
        by=given.get("by") or next((name for name in _GROUPS if name in names), ""),
    )  # fmt: skip


def _errors(state: State, texts: list[str]) -> tuple[dict[str, Any], str, str]:
    """What the address says; what is wrong of it is left out, as if it were not there."""
    own = [condition(text, state.zone) for text in texts if text]
    right = [one for one in own if one.where is not None]
    if not right:
        where = {"or": list(_ERRORS)}
        return where, ERRORS_SAID, _as_text(where)
    where = {"or": [one.where for one in right if one.where is not None]}
    return where, " or ".join(one.label for one in right), _as_text(where)


def _as_text(where: dict[str, Any]) -> str:
    return json.dumps(where, separators=(",", ":"))
