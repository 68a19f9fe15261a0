"""The kind `timeline`: one person's events, newest first, session by session, from PostgreSQL and the lake."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta

from events.insights import listing, session_rule, shown
from events.insights.kind import Ask, Kind
from events.insights.listing import FIRST, EventsQuestion, Page
from events.insights.question import Text
from events.insights.session_rule import GapMinutes, Rule

MICROSECOND: Final = 1_000_000


class TimelineQuestion(
    EventsQuestion, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True
):
    """A page of one person's events; `name` and `where` leave out the others, as if they had not been."""

    person: Annotated[Text, Meta(description="`user_id`, or `anonymous_id` where there is none.")]
    gap_minutes: GapMinutes = session_rule.SILENCE_MINUTES


@dataclass(slots=True)
class _Session:
    """What a page has of a session. The silences are in µs, None where nothing is known to lie before."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    gaps: list[int | None] = field(default_factory=list)  # before each event
    begins_before: bool = False  # its first event is on a later page
    ends_after: bool = False  # its last event is on an earlier page


def answer(ask: Ask) -> dict[str, Any]:
    """Returns `sessions`, `next` (null: no more) and `source`."""
    asked: TimelineQuestion = ask.question
    page = listing.page(ask)
    sessions = _sessions(page, session_rule.by_silence(asked.gap_minutes))
    return {
        "sessions": [_shown(session, with_properties=asked.properties) for session in sessions],
        "next": page.next,
        "source": page.source,
    }


def _sessions(page: Page, rule: Rule) -> list[_Session]:
    """Newest first. Where the row behind the page is not known, its last session may go on: the next page tells."""
    sessions: list[_Session] = []
    moments = [_moment(row) for row in page.rows]
    older = _moment(page.older) if page.older else None
    for row, moment, before in zip(page.rows, moments, [*moments, older][1:], strict=True):
        gap = _between(before, moment) if before else None
        if not sessions or rule.divides(sessions[-1].gaps[-1] or 0):
            sessions.append(_Session())
        sessions[-1].rows.append(row)
        sessions[-1].gaps.append(gap)
    if sessions:
        last = sessions[-1].gaps[-1]
        sessions[-1].begins_before = last is not None and not rule.divides(last)
        if page.before != FIRST:
            after = datetime.fromisoformat(page.before.occurred_at)
            sessions[0].ends_after = not rule.divides(_between(moments[0], after))
    return sessions


def _shown(session: _Session, *, with_properties: bool) -> dict[str, Any]:
    first, last = _moment(session.rows[-1]), _moment(session.rows[0])
    before = None if session.begins_before else session.gaps[-1]
    return {
        "first_at": _time(session.rows[-1]),
        "last_at": _time(session.rows[0]),
        "seconds": _between(first, last) / MICROSECOND,
        "gap_seconds": None if before is None else before / MICROSECOND,
        "begins_on_next_page": session.begins_before,
        "continues_page_before": session.ends_after,
        "events": [
            shown.event_of(row[1:], with_properties=with_properties)
            | {"gap_seconds": None if gap is None else gap / MICROSECOND}
            for row, gap in zip(session.rows, session.gaps, strict=True)
        ],
    }


def _time(row: tuple[Any, ...]) -> str:
    return listing.place_of(row).occurred_at


def _moment(row: tuple[Any, ...]) -> datetime:
    return datetime.fromisoformat(_time(row))


def _between(first: datetime, last: datetime) -> int:
    return (last - first) // timedelta(microseconds=1)


KIND: Final = Kind(
    "timeline",
    TimelineQuestion,
    answer,
    summary="One person's events, session by session, in pages",
    description="As the kind `events`, of one person; those without 30 minutes of silence between them (`gap_minutes`) are a"
    " session. `gap_seconds` is the silence before an event, and before a session; null where nothing lies before, or where"
    " only the next page tells. A session that a page cuts in two is marked on both pages.",
    examples={
        "All that a person did": {"person": "ada"},
        "Page views of last week, sessions by an hour": {
            "person": "ada",
            "name": "page_view",
            "period": {"last": "7d"},
            "gap_minutes": 60,
            "properties": False,
        },
        "The next page": {"person": "ada", "after": "YTE3Njk4NjA4MDAxMjM0NTYuNDcxMQ"},
    },
    example_answer={
        "sessions": [
            {
                "first_at": listing.EXAMPLE["occurred_at"],
                "last_at": listing.EXAMPLE["occurred_at"],
                "seconds": 0.0,
                "gap_seconds": 86_400.5,
                "begins_on_next_page": False,
                "continues_page_before": False,
                "events": [listing.EXAMPLE | {"gap_seconds": 86_400.5}],
            }
        ],
        "next": "YTE3Njk4NjA4MDAxMjM0NTYuNDcxMQ",
        "source": listing.POSTGRES,
    },
)
