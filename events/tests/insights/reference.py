"""Events, and every figure of theirs worked out in plain Python from its definition (docs/insights.md), not from our SQL."""

import json
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

ABSENT = object()
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
NAMES = ["page_view", "order_paid", "signup", "Zürich 'q\" %", "page view"]


@dataclass(frozen=True)
class Event:
    id: int
    name: str
    occurred_at: datetime
    user_id: str | None = None
    anonymous_id: str | None = None
    session_id: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    event_id: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def person(self) -> str | None:
        return self.user_id if self.user_id is not None else self.anonymous_id

    def value(self, path: Iterable[str]) -> Any:
        """As JSON has it; ABSENT where it is absent or null."""
        found: Any = self.properties
        for key in path:
            if isinstance(found, list) and key.isdecimal():
                found = found[int(key)] if int(key) < len(found) else None
            else:
                found = found.get(key) if isinstance(found, dict) else None
        return ABSENT if found is None else found

    def text(self, path: Iterable[str]) -> str | None:
        found = self.value(path)
        if found is ABSENT:
            return None
        return found if isinstance(found, str) else json.dumps(found, separators=(",", ":"))

    def number(self, path: Iterable[str]) -> float | None:
        found = self.value(path)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def events(number: int = 3_000, seed: int = 7) -> list[Event]:
    """Around each change of the clocks of 2026 in four zones, in no order, some at the very boundaries of days and hours."""
    chance = random.Random(seed)
    starts = [
        datetime(2026, month, day, tzinfo=UTC)
        for month, day in ((3, 6), (3, 27), (4, 3), (10, 2), (10, 23), (10, 30))
    ]
    spans = [(starts[index % 6], 3.5) for index in range(6)] + [(datetime(2026, 10, 1, tzinfo=UTC), 40)]
    moments = []
    for _ in range(number - 120):
        start, days = chance.choice(spans)
        moments.append(start + timedelta(microseconds=chance.randrange(int(days * 86_400_000_000))))
    for _ in range(60):  # on a boundary, and just before it
        zone = ZoneInfo(chance.choice(ZONES))
        local = datetime(
            2026,
            chance.choice([3, 4, 10, 11]),
            chance.randrange(1, 29),
            chance.choice([0, 1, 2, 3, 12]),
            tzinfo=zone,
        )
        moments += [local.astimezone(UTC), local.astimezone(UTC) - timedelta(microseconds=1)]
    return [_event(chance, index + 1, moment) for index, moment in enumerate(moments)]


def _event(chance: random.Random, number: int, moment: datetime) -> Event:
    user = f"u{chance.randrange(90)}" if chance.random() < 0.6 else None
    anonymous = f"a{chance.randrange(60)}" if chance.random() < 0.7 else None
    properties: dict[str, Any] = {}
    pick = chance.random
    if pick() < 0.9:
        properties["plan"] = chance.choice(
            ["free", "free", "pro", "team", None, 1, "1", True, "true", 2.5, ["x"], {"a": 1}]
        )
    if pick() < 0.9:
        properties["amount"] = chance.choice(
            [1, 2, 2, 7, 19.5, -3, 0, 1000000, "12", None, True, 2.25, round(pick() * 500, 2)]
        )
    if pick() < 0.5:
        properties["a.b"] = chance.choice(["dot", "", " ", "'; DROP TABLE events; --"])
    if pick() < 0.4:
        properties["qu\"o'te $.x[*]/~"] = chance.choice(["x", 5])
    if pick() < 0.4:
        properties[""] = chance.choice(["empty", 3])
    if pick() < 0.4:
        properties["имя"] = chance.choice(["Ω", "ω"])
    if pick() < 0.6:
        properties["address"] = chance.choice(
            [
                {"city": "Köln", "geo": {"lat": 50.9}},
                {"city": "Wien", "geo": {"lat": 48}},
                {"city": None},
                "text",
                None,
                ["p", {"q": 4}],
            ]
        )
    if pick() < 0.1:
        properties["Plan"] = "another property: names know case"
    return Event(
        number, chance.choice(NAMES[:3] if pick() < 0.9 else NAMES), moment, user, anonymous,
        f"s{chance.randrange(200)}" if pick() < 0.5 else None, properties, uuid.UUID(int=chance.getrandbits(128)),
    )  # fmt: skip


# --- measures ---


def percentile(values: list[float], share: float) -> float | None:
    """Between the two nearest, in proportion."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def measure(chosen: list[Event], kind: str, path: list[str] | None = None) -> Any:
    if kind == "count":
        return len(chosen)
    if kind == "persons":
        return len({event.person for event in chosen} - {None})
    values = [number for event in chosen if (number := event.number(path or [])) is not None]
    figures: dict[str, Callable[[], Any]] = {
        "sum": lambda: sum(values),
        "avg": lambda: sum(values) / len(values) if values else None,
        "min": lambda: min(values, default=None),
        "max": lambda: max(values, default=None),
    }
    return figures[kind]() if kind in figures else percentile(values, int(kind[1:]) / 100)


# --- buckets ---


def bucket(moment: datetime, zone: ZoneInfo, interval: str) -> Any:
    """What tells buckets apart: the local date, Monday, month; or the local hour or minute with its offset from UTC."""
    local = moment.astimezone(zone)
    if interval == "day":
        return local.date()
    if interval == "week":
        return local.date() - timedelta(days=local.weekday())
    if interval == "month":
        return local.year, local.month
    floor = {"second": 0, "microsecond": 0} | ({"minute": 0} if interval == "hour" else {})
    return local.replace(tzinfo=None, **floor), local.utcoffset()


def between(chosen: Iterable[Event], since: datetime, until: datetime) -> list[Event]:
    return [event for event in chosen if since <= event.occurred_at < until]


def grouped(chosen: Iterable[Event], key: Callable[[Event], Any]) -> dict[Any, list[Event]]:
    found: dict[Any, list[Event]] = defaultdict(list)
    for event in chosen:
        found[key(event)].append(event)
    return found


def ranked(groups: dict[Any, list[Event]], limit: int, kind: str, path: list[str] | None = None) -> list[Any]:
    """The largest by the measure; of equal ones the first by name, null last; without a figure after all with one."""
    figures = {group: measure(own, kind, path) for group, own in groups.items()}
    return sorted(
        figures,
        key=lambda group: (figures[group] is None, -(figures[group] or 0), group is None, group or ""),
    )[:limit]


# --- filters ---


def holds(event: Event, asked: dict[str, Any], zone: ZoneInfo) -> bool:
    """Whether an event meets a filter (as JSON)."""
    if "and" in asked:
        return all(holds(event, part, zone) for part in asked["and"])
    if "or" in asked:
        return any(holds(event, part, zone) for part in asked["or"])
    if "not" in asked:
        return not holds(event, asked["not"], zone)
    op, value = asked["op"], asked.get("value", True)
    if op == "exists":
        return (_found(event, asked, "") is not None) == value
    if op == "in":
        return any(_compared(event, asked, "=", item, zone) for item in value)
    if op == "!=":
        return not _compared(event, asked, "=", value, zone)
    return _compared(event, asked, op, value, zone)


def _compared(event: Event, asked: dict[str, Any], op: str, value: Any, zone: ZoneInfo) -> bool:
    """With numbers a number is compared, with texts and truth values the text."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    found = _found(event, asked, value)
    if found is None:
        return False
    if isinstance(found, datetime):
        value = datetime.fromisoformat(value)
        value = value if value.tzinfo else value.replace(tzinfo=zone)
    if isinstance(found, uuid.UUID):
        value = uuid.UUID(value)
    return {
        "=": lambda: found == value,
        "<": lambda: found < value,
        "<=": lambda: found <= value,
        ">": lambda: found > value,
        ">=": lambda: found >= value,
        "contains": lambda: value in found,
        "starts_with": lambda: found.startswith(value),
    }[op]()


def _found(event: Event, asked: dict[str, Any], value: Any) -> Any:
    if "field" in asked:
        return getattr(event, asked["field"])
    path = [asked["property"]] if isinstance(asked["property"], str) else asked["property"]
    return event.text(path) if isinstance(value, str) else event.number(path)
