"""What is done to letters: a rule of one step from fields, or any rule as JSON; and the rule that suggests itself."""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from django import forms
from django.http import QueryDict

from events import mending
from events.deadletter import Wanted, client_form, envelope_of, offending
from events.models import DeadLetter, LetterState

STEPS: Final = (
    ("to_number", "text to number"),
    ("to_text", "to text"),
    ("set", "set to"),
    ("default", "set where missing, to"),
    ("rename", "rename to"),
    ("truncate", "cut to so many characters"),
    ("remove", "remove"),
)
MAX_IDS: Final = 1_000


class ActForm(forms.Form):
    """`ids` beside it: some letters; none: all that match."""

    do = forms.ChoiceField(choices=[(name, name) for name in ("try", "replay", "discard")])
    path = forms.CharField(required=False, max_length=mending.MAX_PATH)
    step = forms.ChoiceField(required=False, choices=STEPS)
    argument = forms.CharField(required=False, max_length=10_000)
    rule_text = forms.CharField(required=False, max_length=100_000)
    rate = forms.IntegerField(required=False, min_value=1, max_value=10_000)
    reason = forms.CharField(required=False, max_length=1_000)
    rule: mending.Rule | None = None
    ids: tuple[int, ...] = ()

    def clean(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().clean() or {}
        given = self.data.getlist("ids") if isinstance(self.data, QueryDict) else []
        if len(given) > MAX_IDS or not all(one.isdecimal() and int(one) < 2**63 for one in given):
            raise forms.ValidationError("These are no letters.")
        self.ids = tuple(int(one) for one in given)
        if fields.get("do") == "discard" and not fields.get("reason", "").strip():
            self.add_error("reason", "Say why: it stays with them.")
        try:
            if fields.get("rule_text", "").strip():
                self.rule = mending.read(fields["rule_text"])
            elif fields.get("path") and fields.get("do") != "discard":
                self.rule = mending.read(_step(fields))
        except mending.BadRule as error:
            self.add_error("rule_text" if fields.get("rule_text", "").strip() else "path", str(error))
        return fields

    def wanted(self, shown: Wanted) -> Wanted:
        """Those that were chosen among the ones shown, else all of them; only what waits is acted upon."""
        return replace(shown, ids=self.ids, state=LetterState.WAITING)


def _step(fields: dict[str, Any]) -> dict[str, Any]:
    do, argument = fields["step"] or "to_number", fields["argument"]
    step: dict[str, Any] = {"path": fields["path"], "do": do}
    if do == "rename":
        step["to"] = argument or None
    elif do == "truncate":
        step["n"] = int(argument) if argument.isdecimal() and len(argument) < 10 else 0
    elif do in ("set", "default"):
        step["value"] = _value(argument)
    return step


def _value(argument: str) -> Any:
    """JSON where it is some, else the text itself."""
    try:
        return msgspec.Raw(json.dumps(msgspec.json.decode(argument)).encode())
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return argument


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A step that may mend such letters; `was`: the offending value, as JSON."""

    path: str
    step: str
    was: str


def suggestion(letter: DeadLetter) -> Suggestion | None:
    """Guesses from the offending value of one letter: text that is a number becomes one, and the other way round."""
    paths = offending(letter)
    if not paths or envelope_of(letter.payload) is None:
        return None
    value: Any = msgspec.json.decode(client_form(letter.payload))
    for name in paths[0].split("."):
        value = value.get(name) if isinstance(value, dict) else None
    was = msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return Suggestion(paths[0], "to_number" if _is_number(value) else "remove", was[:200])
    step = "default" if value is None else "to_text" if isinstance(value, int | float) else "remove"
    return Suggestion(paths[0], step, was[:200])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
