"""Rebuild: what differs is written anew from the table, chunk by chunk; files that cannot be read are given up."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from operator import or_
from typing import Any, Final

from events.lake import duck, publish, rewrite
from events.lake.layout import COLUMNS, SORTED_BY, fresh_path, lake_dir
from events.lake.scope import Scope
from events.lake.seal import copy_rows
from events.lake.sums import Compared
from events.lake.verify import MISSING, BrokenFile, Verified, verify
from events.models import Segment

CHUNK_ROWS: Final = 100_000  # in one transaction; of a day that has more, so many in a file
CHUNK_DAYS: Final = 500
AS_SHARED: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM read_parquet(?, hive_partitioning = false) ORDER BY {SORTED_BY}"
)


@dataclass(slots=True)
class Rebuilt:
    """`days` of a project were written anew. `lost`: rows by project that only given-up files held."""

    days: int = 0
    rows: int = 0
    given_up: list[BrokenFile] = field(default_factory=list)
    lost: Counter[int] = field(default_factory=Counter)


def rebuild(
    found: Verified | None = None,
    *,
    project_id: int | None = None,
    day: date | None = None,
    everything: bool = False,
) -> Rebuilt:
    """Makes the lake equal to the table: in what differs or, with `everything`, in all that the table holds.

    `found`: what `verify` said of the same, where it was asked already. Each chunk is a transaction: a crash leaves less to
    do. What the lake has of before the oldest partition stays, but for files that cannot be read: they are no longer
    listed, and what the table does not hold of them is `lost`.
    """
    rebuilt = Rebuilt()
    found = found or verify(project_id=project_id, day=day, keep_equal=everything)
    chosen = found.compared
    if found.broken:
        with publish.writing(wait=True):
            _list_anew([broken for broken in found.broken if broken.is_readable])
            rebuilt.given_up = _give_up([broken for broken in found.broken if not broken.is_readable])
        rewrite.tell_others(broken.segment for broken in found.broken)
        # Files of other projects and days may have gone with what was asked for.
        anew = verify(keep_equal=everything).compared
        asked = [one for one in anew if project_id in (None, one.project_id) and day in (None, one.day)]
        concerned = [one for one in anew if any(_held(broken.segment, one) for broken in rebuilt.given_up)]
        chosen = sorted({*asked, *(one for one in concerned if not one.is_equal)}, key=_order)
    for broken in rebuilt.given_up:
        rebuilt.lost.update(rewrite.rows_of(broken.segment))
    for chunk in _chunks(chosen):
        gained = _rebuild(chunk, found.scope)
        rebuilt.lost.subtract({key: gained[key] for key in rebuilt.lost})
        rebuilt.days += len(chunk)
        rebuilt.rows += sum(one.table_rows for one in chunk)
    rebuilt.lost = +rebuilt.lost
    return rebuilt


def _rebuild(chunk: Sequence[Compared], within: Scope) -> Counter[int]:
    """One transaction. Returns how many rows more the lake has of each project."""
    days: dict[date, list[int]] = {}
    for one in chunk:
        days.setdefault(one.day, []).append(one.project_id)
    scopes = [
        replace(within, first_day=day, last_day=day, project_ids=tuple(projects))
        for day, projects in days.items()
    ]
    with publish.writing(wait=True):
        live = Segment.objects.filter(reduce(or_, (scope.in_segments() for scope in scopes)), retired_at=None)
        rest = rewrite.without(live.order_by("id"), " OR ".join(f"({scope.in_lake()})" for scope in scopes))
        drafts = [*rest.drafts, *_from_table(scopes, _pieces(chunk))]
        publish.publish(drafts, retire=rest.retired_ids)
    rewrite.tell_others([*drafts, *rest.retired])
    gained: Counter[int] = Counter()
    for draft in drafts:
        gained.update(rewrite.rows_of(draft))
    for segment in rest.retired:
        gained.subtract(rewrite.rows_of(segment))
    return gained


def _from_table(scopes: Sequence[Scope], pieces: int) -> Iterator[publish.Draft]:
    """Writes their rows to shared segments, as a seal does: merging gives them their files and columns."""
    conditions = [scope.in_table() for scope in scopes]
    where = " OR ".join(f"({sql})" for sql, _ in conditions)
    values: list[Any] = [value for _, of_one in conditions for value in of_one]
    if pieces == 1:
        drafts = [copy_rows(where, values)]
    else:  # one project's day
        start, span = datetime.combine(scopes[0].first_day, time(), UTC), timedelta(days=1) / pieces
        drafts = [
            copy_rows(
                f"({where}) AND e.occurred_at >= %s AND e.occurred_at < %s",
                [*values, start + n * span, start + (n + 1) * span],
            )
            for n in range(pieces)
        ]
    return (draft for draft in drafts if draft)


def _chunks(days: Iterable[Compared]) -> Iterator[list[Compared]]:
    chunk: list[Compared] = []
    rows = 0
    for one in sorted(days, key=_order):
        if chunk and (rows + one.table_rows > CHUNK_ROWS or len(chunk) == CHUNK_DAYS):
            yield chunk
            chunk, rows = [], 0
        chunk.append(one)
        rows += one.table_rows
    if chunk:
        yield chunk


def _pieces(chunk: Sequence[Compared]) -> int:
    return max(1, -(-sum(one.table_rows for one in chunk) // CHUNK_ROWS))


def _list_anew(broken: Iterable[BrokenFile]) -> None:
    """Files that are sound, and are not what their row says: each becomes a shared one, measured again."""
    with duck.connect() as writer:
        for one in _still_live(broken):
            draft = publish.write(
                writer, AS_SHARED, [str(lake_dir() / one.segment.path)],
                path=fresh_path(publish.new_token()), project_id=None, level=0,
            )  # fmt: skip
            publish.publish([draft] if draft else [], retire=[one.segment.pk])


def _give_up(broken: Iterable[BrokenFile]) -> list[BrokenFile]:
    """No longer lists files that cannot be read; one that has come back meanwhile stays."""
    gone = [
        one
        for one in _still_live(broken)
        if one.what != MISSING or not (lake_dir() / one.segment.path).exists()
    ]
    publish.publish([], retire=[one.segment.pk for one in gone])
    return gone


def _still_live(broken: Iterable[BrokenFile]) -> list[BrokenFile]:
    by_id = {one.segment.pk: one for one in broken}
    live = Segment.objects.filter(pk__in=by_id, retired_at=None).values_list("pk", flat=True)
    return [by_id[pk] for pk in live]


def _held(segment: Segment, one: Compared) -> bool:
    """Whether a file was listed with rows of a project's day."""
    return one.project_id in rewrite.rows_of(segment) and segment.first_day <= one.day <= segment.last_day


def _order(one: Compared) -> tuple[date, int]:
    return one.day, one.project_id
