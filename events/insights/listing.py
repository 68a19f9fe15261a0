"""The kind `events`: newest first, a page at a time; from PostgreSQL what it holds, from the lake what is older, in one order.

A page begins behind a place, which an event has in both engines: a partition that is dropped between two pages changes who
is asked, and not what is answered.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta

from events import times
from events.insights import held, periods, shown
from events.insights.errors import BadQuestion
from events.insights.held import PAGE_BYTES, Part, Place
from events.insights.kind import Ask, Kind
from events.insights.which import UNTIL, EventsWanted, Which, which
from events.lake.layout import COLUMNS
from events.lake.snapshot import Snapshot

MAX_LIMIT: Final = 1_000
POSTGRES: Final = "postgresql"
LAKE: Final = "lake"
MANY: Final = 500_000  # rows: fewer are read at once in a few hundredths of a second
STRETCHES: Final = (0.03, 0.2)  # of the rows of a period
MICROSECOND: Final = timedelta(microseconds=1)
BOTH: Final = "both"
FIRST: Final = Place(times.text(UNTIL), 2**63 - 1)  # newer than any event
_CURSOR: Final = re.compile(r"([al])([0-9]{15,16})\.([0-9]{1,19})", re.ASCII)

# Plan: first the places alone, out of two narrow columns and what the condition needs, then their rows, by time and id:
# 10 million rows in 200 instead of 1,200 ms. The sum cuts a page of large events short.
_BYTES: Final = "strlen(properties) + strlen(context) + coalesce(octet_length(raw), 0)"
_NEWEST: Final = """
WITH place AS MATERIALIZED (
    SELECT occurred_at, id FROM {scan} WHERE {where} ORDER BY occurred_at DESC, id DESC LIMIT {limit}
), event AS (
    SELECT {stored}, {bytes} AS bytes
    FROM read_parquet({files})
    WHERE project_id = {project_id} AND id IN (SELECT id FROM place)
        AND occurred_at BETWEEN (SELECT min(occurred_at) FROM place) AND (SELECT max(occurred_at) FROM place)
), summed AS (
    SELECT *, sum(bytes) OVER (ORDER BY occurred_at DESC, id DESC) - bytes AS bytes_before FROM event
)
SELECT id, {columns}, (SELECT count(*) FROM place) FROM summed
WHERE bytes_before <= {page_bytes} ORDER BY occurred_at DESC, id DESC
"""


class EventsQuestion(EventsWanted, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """A page of events."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = 50
    after: Annotated[str, Meta(max_length=100, description="`next` of the page before.")] | None = None
    properties: Annotated[
        bool, Meta(description="false leaves out `properties`, `context` and `raw_base64`.")
    ] = True


@dataclass(frozen=True, slots=True)
class Page:
    """`rows` as in Part; `before`: the place it begins behind, `older`: the row behind its last one, where that is known."""

    rows: list[tuple[Any, ...]]
    before: Place
    older: tuple[Any, ...] | None
    next: str | None
    source: str


def answer(ask: Ask) -> dict[str, Any]:
    """Returns `events`, `next` (null: no more) and `source`. A page of large events may hold fewer than `limit`."""
    found = page(ask)
    events = [shown.event_of(row[1:], with_properties=ask.question.properties) for row in found.rows]
    return {"events": events, "next": found.next, "source": found.source}


def page(ask: Ask) -> Page:
    """Takes an Ask whose question is an EventsQuestion. Raises BadQuestion."""
    asked: EventsQuestion = ask.question
    wanted = which(asked, time_zone=ask.time_zone, now=ask.now)
    place, of_lake = _read_cursor(asked.after) if asked.after is not None else (FIRST, False)
    parts, source = _parts(ask, wanted, place, of_lake=of_lake)
    known, is_last = _merged(parts, asked.limit)
    rows, older = known[: asked.limit], known[asked.limit :]
    following = None if is_last else _cursor(place_of(rows[-1]), of_lake=source == LAKE)
    return Page(rows, place, older[0] if older else None, following, source)


def _parts(ask: Ask, wanted: Which, before: Place, *, of_lake: bool) -> tuple[list[Part], str]:
    """What each engine has of this page. PostgreSQL is left out where it took too long, on this page or the one before."""
    if of_lake:
        return [_of_lake(ask, wanted, before)], LAKE
    where, parameters = wanted.postgres()
    found = held.newest(
        ask.project_id, since=wanted.since, until=wanted.until, where=where, parameters=parameters,
        before=before, limit=ask.question.limit + 1, with_properties=ask.question.properties,
    )  # fmt: skip
    if found.part is None:
        return [_of_lake(ask, wanted, before)], LAKE
    # What the lake adds lies among or behind these: of a full page, no further back than its end.
    end = None if found.part.is_complete else _time(place_of(found.part.rows[-1]))
    older = _of_lake(ask, wanted, before, received_before=found.since, since=end)
    return [found.part, older], BOTH if older.rows else POSTGRES


def _of_lake(
    ask: Ask,
    wanted: Which,
    before: Place,
    *,
    received_before: datetime | None = None,
    since: datetime | None = None,
) -> Part:
    """Plan: the latest days first, for a page is mostly full by then; the older ones only where it is not."""
    at, oldest, until = _time(before), since or wanted.since, wanted.until
    limit = ask.question.limit + 1
    snapshot = ask.snapshot(since=oldest, until=min(at, until), received_before=received_before)
    found = Part([], is_complete=True)
    for start, end in _stretches(snapshot, oldest, until):
        part = _of_stretch(
            ask, wanted, snapshot, before=before, since=start, until=end, received_before=received_before,
            limit=limit - len(found.rows),
        )  # fmt: skip
        found = Part(found.rows + part.rows, is_complete=part.is_complete)
        if not part.is_complete:
            break
    return found


def _stretches(snapshot: Snapshot, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The period in parts, the latest first: cut where midnights have some of the rows behind them; they end with `since`."""
    behind, end = 0, until
    marks = list(STRETCHES) if snapshot.rows > MANY else []
    for file in sorted(snapshot.files, key=lambda one: one.first_day, reverse=True):
        cut = datetime.combine(file.first_day, time(), UTC)
        behind += file.rows
        if marks and behind >= marks[0] * snapshot.rows and since < cut < end:
            yield cut, end
            end = cut
            marks = [mark for mark in marks if behind < mark * snapshot.rows]
    if snapshot.files:
        yield since, end


def _of_stretch(
    ask: Ask,
    wanted: Which,
    snapshot: Snapshot,
    *,
    before: Place,
    since: datetime,
    until: datetime,
    received_before: datetime | None,
    limit: int,
) -> Part:
    first_day, last_day = since.date(), (until - MICROSECOND).date()
    files = tuple(
        file for file in snapshot.files if file.last_day >= first_day and file.first_day <= last_day
    )
    if not files:
        return Part([], is_complete=True)
    asked: EventsQuestion = ask.question
    scan, where = wanted.lake(replace(snapshot, files=files), since=since, until=until)
    moment = f"make_timestamptz({periods.to_us(_time(before))})"
    where += f" AND occurred_at <= {moment} AND (occurred_at < {moment} OR id < {before.id})"
    if received_before is not None:
        where += f" AND received_at < make_timestamptz({periods.to_us(received_before)})"
    sql = _NEWEST.format(
        scan=scan.sql(), where=where, limit=limit, stored=", ".join(COLUMNS), project_id=int(ask.project_id),
        files=scan.value([str(file.path) for file in files]),
        columns=", ".join(shown.lake_columns(with_properties=asked.properties).values()),
        bytes=_BYTES if asked.properties else "0", page_bytes=PAGE_BYTES,
    )  # fmt: skip
    found = ask.run(sql, scan.parameters).rows
    places = found[0][-1] if found else 0
    return Part([tuple(row[:-1]) for row in found], is_complete=places < limit and len(found) == places)


def _merged(parts: list[Part], limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """Returns the known rows, and whether a page holds all there are. What a part has not told is older than its last row."""
    ends = [place_of(part.rows[-1]).key for part in parts if not part.is_complete]
    known_to = max(ends, default=("", 0))
    rows = [row for part in parts for row in part.rows]
    rows.sort(key=lambda row: place_of(row).key, reverse=True)
    known = [row for row in rows if place_of(row).key >= known_to]
    return known, len(known) <= limit and not ends


def place_of(row: tuple[Any, ...]) -> Place:
    return Place(row[1 + shown.FIELDS.index("occurred_at")], row[0])


def _time(place: Place) -> datetime:
    return datetime.fromisoformat(place.occurred_at)


def _cursor(place: Place, *, of_lake: bool) -> str:
    text = f"{'l' if of_lake else 'a'}{periods.to_us(_time(place))}.{place.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[Place, bool]:
    """Returns the place, and whether the lake answers alone. Raises BadQuestion for what no answer of ours has held."""
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        plain = ""
    found = _CURSOR.fullmatch(plain)
    if not found or int(found[2]) > periods.to_us(UNTIL) or int(found[3]) >= 2**63:
        raise BadQuestion("after", "Not the `next` of a page.")
    return Place(times.text(periods.from_us(int(found[2]))), int(found[3])), found[1] == "l"


EXAMPLE: Final = {
    "id": "5d0c8a0e-35a2-5c7b-9d4f-2f0c6f1b7a11",
    "client_event_id": "order-7",
    "name": "order_paid",
    "user_id": "ada",
    "anonymous_id": None,
    "session_id": None,
    "occurred_at": "2026-01-31T12:00:00.123456Z",
    "received_at": "2026-01-31T12:00:00.341000Z",
    "stored_at": "2026-01-31T12:00:00.362114Z",
    "properties": {"plan": "pro", "amount": 19.90},
    "context": {},
}
KIND: Final = Kind(
    "events",
    EventsQuestion,
    answer,
    summary="Events, newest first, in pages",
    description="By `occurred_at`, latest first. `next` is the `after` of the page that follows; a page of large events may "
    "be shorter than `limit`. `source` says who answered: `postgresql`, `lake`, or `both`. `raw_base64` is there where the "
    "exact bytes sent say more than the row. Without a `period`: all events there are.",
    examples={
        "The latest of a name": {"name": "order_paid", "limit": 20},
        "What a person did last week": {"person": "ada", "period": {"last": "7d"}},
        "By a property, the next page": {
            "where": {"property": "plan", "op": "=", "value": "pro"},
            "after": "YTE3Njk4NjA4MDAxMjM0NTYuNDcxMQ",
        },
    },
    example_answer={"events": [EXAMPLE], "next": "YTE3Njk4NjA4MDAxMjM0NTYuNDcxMQ", "source": POSTGRES},
)
