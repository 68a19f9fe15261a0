"""What an address asks for (`period, from, until, compare, tz, f=…&f=…`): here it becomes the API's questions, nowhere else."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from django.http import HttpRequest, QueryDict

from events import times
from events.insights import periods
from events.insights.errors import BadQuestion
from events.insights.periods import Period
from events.insights.question import PeriodQuestion
from events.views.conditions import Condition, condition, field
from events.views.parts import AGAIN
from projects.models import Project

CHOICES: Final = (("1h", "1 h"), ("24h", "24 h"), ("7d", "7 d"), ("30d", "30 d"))
MAX_FILTERS: Final = 20
INTERVALS: Final = (
    ("minute", timedelta(hours=3)), ("hour", timedelta(days=14)), ("day", timedelta(days=400)), ("week", timedelta(days=3000)),
)  # fmt: skip
LARGEST_STEP: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of a page of this state with something changed. What counts pages is always dropped."""

    path: str
    query: QueryDict

    def set(self, **changes: str | None) -> str:
        """With parameters set, or dropped where None; `from_` is `from`."""
        query = self._copy()
        for name, value in changes.items():
            query.pop(name.rstrip("_"), None)
            if value is not None:
                query[name.rstrip("_")] = value
        return self._address(query)

    def adding(self, text: str) -> str:
        """With one more filter."""
        query = self._copy()
        query.setlist("f", [*(one for one in query.getlist("f") if one != text), text])
        return self._address(query)

    def without(self, text: str) -> str:
        query = self._copy()
        query.setlist("f", [one for one in query.getlist("f") if one != text])
        return self._address(query)

    @property
    def filter(self) -> str:
        """Ends in "f=", for _json_tree.html."""
        address = self._address(self._copy())
        return f"{address}{'&' if '?' in address else '?'}f="

    def at(self, path: str) -> "Links":
        """The same state on another page."""
        return Links(path, self.query)

    def _copy(self) -> QueryDict:
        query = self.query.copy()
        for name in ("after", "live", AGAIN):
            query.pop(name, None)
        return query

    def _address(self, query: QueryDict) -> str:
        return f"{self.path}?{query.urlencode()}" if query else self.path


@dataclass(frozen=True, slots=True)
class State:
    """`problems`: what is wrong apart from filters, which say it themselves. Nothing is asked unless all `is_right`."""

    project: Project
    links: Links
    period: Period
    asked_period: dict[str, str]
    compare: bool
    zone: ZoneInfo
    conditions: tuple[Condition, ...]
    problems: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        return not self.problems and all(one.where is not None for one in self.conditions)

    def question(self, **more: Any) -> dict[str, Any]:
        """The JSON of a question of this period, zone and filters."""
        asked: dict[str, Any] = {"period": self._ends, "time_zone": self.zone.key, **more}
        if where := self.where:
            asked["where"] = where
        return asked

    @property
    def _ends(self) -> dict[str, str]:
        """The same for all parts of a page, whatever buckets each has: `last` ends with a bucket."""
        return {"from": _text(self.period.since), "until": _text(self.period.until)}

    @property
    def where(self) -> dict[str, Any] | None:
        return all_of(one.where for one in self.conditions if one.where is not None)

    def asked(self) -> dict[str, str]:
        """The same as parameters of an address of the API."""
        found = {"period": msgspec.json.encode(self._ends).decode(), "time_zone": self.zone.key}
        if where := self.where:
            found["where"] = msgspec.json.encode(where).decode()
        return found

    @property
    def interval(self) -> str:
        """Of a chart: finer than what a question takes by itself."""
        return _interval_of(self.period)

    @property
    def chips(self) -> list[dict[str, str]]:
        """For _filter_chip.html."""
        return [
            {"text": one.label, "remove": self.links.without(one.text), "error": one.error}
            for one in self.conditions
        ]

    @property
    def of_name(self) -> str:
        """The one name that is asked for, "" for any or several."""
        names = [one.value for one in self.conditions if (one.field, one.op) == ("name", "eq")]
        return names[0] if len(names) == 1 else ""

    def with_name(self, name: str) -> str:
        return self.links.adding(field("name", name))

    def picker(self) -> dict[str, Any]:
        """For _period_picker.html."""
        since, until = self.period.since, self.period.until
        length = until - since
        step = {"earlier": (since - length, since), "later": (until, until + length)}
        found: dict[str, Any] = {
            "choices": CHOICES,
            "chosen": self.asked_period.get("last", ""),
            "from": f"{since.astimezone(self.zone):%Y-%m-%dT%H:%M}",
            "until": f"{until.astimezone(self.zone):%Y-%m-%dT%H:%M}",
        }
        if length < LARGEST_STEP and periods.EARLIEST + length < since and until + length < periods.LATEST:
            for name, (start, end) in step.items():
                if name == "earlier" or end <= datetime.now(UTC) + length:
                    found[name] = self.links.set(period=None, from_=_text(start), until=_text(end))
        return found

    @property
    def wider(self) -> str:
        """The same over a longer period; "" where there is no longer one to offer."""
        length = self.period.until - self.period.since
        for last, days in (("7d", 7), ("30d", 30), ("365d", 365)):
            if length < timedelta(days=days) * 0.95:
                return self.links.set(period=last, from_=None, until=None)
        return ""


def read(
    request: HttpRequest, project: Project, path: str, *, last: str = "24h", compares: bool = False
) -> State:
    """Takes a request of a page or of a part of it, and the page's path.

    `last`: the period unless one is given; `compares`: with the period before, unless `compare=no`.
    """
    given = request.GET
    problems = []
    try:
        zone = periods.zone_of(given.get("tz") or project.time_zone)
    except BadQuestion as error:
        zone = ZoneInfo(project.time_zone)
        problems.append(error.message)
    if given.get("from"):
        asked = {"from": given["from"]} | ({"until": given["until"]} if given.get("until") else {})
    else:
        asked = {"last": given.get("period") or last}
    try:
        period = _period(asked, zone)
    except BadQuestion as error:
        problems.append(error.message)
        asked = {"last": last}
        period = _period(asked, zone)
    texts = list(dict.fromkeys(text for text in given.getlist("f") if text))
    if len(texts) > MAX_FILTERS:
        problems.append(f"More than {MAX_FILTERS} filters.")
    return State(
        project=project,
        links=Links(path, given),
        period=period,
        asked_period=asked,
        compare=given.get("compare", "previous" if compares else "") == "previous",
        zone=zone,
        conditions=tuple(condition(text, zone) for text in texts[:MAX_FILTERS]),
        problems=tuple(problems),
    )


def _period(asked: dict[str, str], zone: ZoneInfo) -> Period:
    """Ends with the bucket of its chart that holds the present moment. Raises BadQuestion."""
    question = PeriodQuestion(asked.get("last"), asked.get("from"), asked.get("until"))
    now = datetime.now(UTC)
    return periods.resolve(question, zone, _interval_of(periods.resolve(question, zone, None, now)), now)


def _interval_of(period: Period) -> str:
    length = period.until - period.since
    return next((interval for interval, longest in INTERVALS if length <= longest), "month")


def all_of(filters: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """All of these filters of the API as one; None for none."""
    found = list(filters)
    if len(found) < 2:
        return found[0] if found else None
    return {"and": found}


def _text(moment: datetime) -> str:
    return times.text(moment)
