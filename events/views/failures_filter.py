"""Which letters a page of failures is about: its query string, by the fields of the API's filter."""

from dataclasses import dataclass, field
from typing import Any, Final

from django.http import HttpRequest

from events.deadletter import Wanted
from events.deadletter_requests import FilterSerializer, wanted_of
from events.models import LetterState

FIELDS: Final = (
    ("name", "Event name"),
    ("code", "Code"),
    ("sqlstate", "SQLSTATE"),
    ("event_id", "Event id"),
    ("since", "Failed since"),
    ("until", "Failed before"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """`chips`: the filters that are set, (parameter, text); `errors`: what is wrong with the address."""

    wanted: Wanted
    values: dict[str, str]
    chips: list[tuple[str, str]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    before: int | None = None

    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """Of the form: parameter, label, value."""
        return [(name, label, self.values.get(name, "")) for name, label in FIELDS]


def asked(request: HttpRequest, project_id: int) -> Asked:
    """Reads the address. Waiting letters, unless it asks for others."""
    names = (*dict(FIELDS), "state", "fingerprint")
    values = {name: request.GET[name] for name in names if request.GET.get(name)}
    body = FilterSerializer(data={"state": str(LetterState.WAITING)} | values)
    before = request.GET.get("before", "")
    if not body.is_valid():
        errors = {name: " ".join(map(str, said)) for name, said in body.errors.items()}
        return Asked(Wanted(project_id=project_id, ids=(0,)), values, _chips(values), errors)
    fields: dict[str, Any] = body.validated_data
    cursor = int(before) if before.isdecimal() and int(before) < 2**63 else None
    return Asked(wanted_of(project_id, fields), values, _chips(values), before=cursor)


def _chips(values: dict[str, str]) -> list[tuple[str, str]]:
    labels = dict(FIELDS)
    return [(name, f"{labels[name]}: {value}") for name, value in values.items() if name in labels]
