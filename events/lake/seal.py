"""Seal: the rows of newly committed batches, copied from PostgreSQL into one shared Parquet file.

What is new is known by batches (`seal` null), not by clocks or ids: a transaction that commits late is found then.
"""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, Final

import duckdb
from django.db import connection

from events.catalogue.learn import learn
from events.lake import duck
from events.lake.layout import COLUMNS, SORTED_BY, fresh_path, lake_dir
from events.lake.publish import Draft, new_token, publish, write, writing
from events.models import Batch
from events.persons import PERSON_HASH_SQL

log = logging.getLogger(__name__)
Learn = Callable[[duckdb.DuckDBPyConnection, Path], None]

MAX_ROWS: Final = 100_000  # peak memory grows with both
MAX_BYTES: Final = 16 << 20
VERY_LARGE_ROW_BYTES: Final = 4_096  # on average: of such, what is merged at once is more than LARGE_BYTES
MAX_BATCHES: Final = 5_000
SECONDS: Final = 60
PATIENCE_SECONDS: Final = 15  # while large rows are being merged
ROOMY_MEMORY: Final = "1GB"  # for rows so large that the usual bound does not hold them

# Plan: the partial index of unsealed batches, in order, up to MAX_BATCHES and one more.
CHOOSE: Final = """
SELECT id, stored, first_id, last_id, place = 1 OR place <= %(batches)s AND rows <= %(rows)s AND bytes <= %(bytes)s
    AND (bytes <= %(large)s OR bytes <= rows * %(row)s) FROM (
    SELECT *, sum(stored) OVER w AS rows, sum(bytes) OVER w AS bytes, row_number() OVER w AS place FROM (
        SELECT id, stored, first_id, last_id, bytes FROM events_batch WHERE seal IS NULL ORDER BY id LIMIT %(batches)s + 1
    ) AS oldest (id, stored, first_id, last_id, bytes)
    WINDOW w AS (ORDER BY id)
) AS summed (id, stored, first_id, last_id, bytes_of_batch, rows, bytes, place) ORDER BY id
"""
# Control characters part and quote the fields, so that JSON passes without a quote of its own being doubled. Plan: the
# index on id of every partition, for the range of these batches; nearly all in it is theirs.
COPY: Final = """
COPY (
    SELECT id, project_id, event_id, client_event_id, name, user_id, anonymous_id, session_id,
        occurred_at, received_at, stored_at, properties::text, context::text, encode(raw, 'hex')
    FROM events_event AS e WHERE {where}
) TO STDOUT (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02', ESCAPE E'\\x02')
"""
COPIED: Final = {name: kind for name, kind in COLUMNS.items() if name != "person_h"} | {"raw": "VARCHAR"}
# One thread reads: with several, quoted newlines in long rows were taken for ends of rows. allow_quoted_nulls: '' is no NULL.
READ: Final = """
SELECT {columns} FROM read_csv(?, header = false, auto_detect = false, delim = '\x01', quote = '\x02', escape = '\x02',
    new_line = '\\n', allow_quoted_nulls = false, strict_mode = true, parallel = false,
    max_line_size = {longest}, buffer_size = {buffer}, columns = {{{kinds}}})
ORDER BY {order}
"""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one seal did. `more`: others wait; `busy`: another writer had the lake, nothing was done."""

    batches: int = 0
    rows: int = 0
    segment_id: int | None = None
    projects: frozenset[int] = frozenset()
    more: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class _Chosen:
    ids: list[int]
    stored: int
    id_range: tuple[int, int] | None
    more: bool


@dataclass(slots=True)
class _Spool:
    """Takes COPY's rows, one a call, and remembers the longest: the reader has to be told."""

    file: IO[bytes]
    longest: int = 0

    def write(self, row: bytes) -> int:
        if len(row) > self.longest:  # max() takes as long as all the rest of this
            self.longest = len(row)
        return self.file.write(row)


def seal(*, reached: Callable[[str], object] = str) -> Sealed:
    """Seals the oldest batches that are not, up to a bounded number of rows. `reached` is told of each step.

    Durable on return: the file, its listing, and the batches' mark. A crash before leaves a file that nobody lists.
    Raises duckdb.Error, OSError, and what the database raises; then nothing is changed.
    """
    with writing() as is_free:
        if not is_free:
            return Sealed(busy=True)
        chosen = _choose()
        if not chosen.ids:
            return Sealed()
        draft = _write(chosen, reached) if chosen.stored else None
        reached("written")
        rows = draft.rows if draft else 0
        if rows != chosen.stored:
            # Those of a deleted project, or erased since; whatever is in the table now is in the file.
            log.warning("%s rows were sealed of %s that were stored", rows, chosen.stored)
        segments = publish([draft]) if draft else []
        segment_id = segments[0].pk if segments else None
        _mark(chosen.ids, segment_id or 0)
        reached("marked")
    reached("committed")
    projects = frozenset(map(int, (draft and draft.project_rows) or ()))
    return Sealed(len(chosen.ids), rows, segment_id, projects, chosen.more)


def _choose() -> _Chosen:
    with connection.cursor() as cursor:
        limits = {"rows": MAX_ROWS, "bytes": MAX_BYTES, "batches": MAX_BATCHES}
        cursor.execute(CHOOSE, limits | {"large": duck.LARGE_BYTES, "row": VERY_LARGE_ROW_BYTES})
        found = cursor.fetchall()
    taken = list(takewhile(lambda row: row[4], found))
    full = [row for row in taken if row[1]]
    id_range = None
    if full and all(first is not None for _, _, first, _, _ in full):
        id_range = min(row[2] for row in full), max(row[3] for row in full)
    return _Chosen([row[0] for row in taken], sum(row[1] for row in full), id_range, len(taken) < len(found))


def _write(chosen: _Chosen, reached: Callable[[str], object]) -> Draft | None:
    where, (low, high) = "batch_id = ANY(%(ids)s)", chosen.id_range or (0, 0)
    if chosen.id_range:
        # As many ids as rows: each of them is of these batches, and to look at each row's takes a tenth of the time.
        is_theirs = high - low + 1 == chosen.stored
        where = "id BETWEEN %(low)s AND %(high)s" + ("" if is_theirs else f" AND {where}")
        with connection.cursor() as cursor:
            # Whatever the statistics of a young partition say: neither all of it nor its BRIN index.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    values = {"low": low, "high": high, "ids": chosen.ids}
    return copy_rows(where, values, reached=reached, learned=learn)


def copy_rows(
    where: str,
    values: dict[str, Any] | list[Any],
    *,
    reached: Callable[[str], object] = str,
    learned: Learn | None = None,
) -> Draft | None:
    """Within `writing`: writes the rows of `events_event AS e` for which `where` is true to a shared segment.

    Durable on return, and not part of the lake before `publish`. Returns None where there are none.
    """
    with _spool_file() as path:
        with path.open("wb", buffering=1 << 20) as file, connection.cursor() as cursor:
            spool = _Spool(file)
            cursor.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
            copy = cursor.cursor.mogrify(COPY.format(where=where), values).decode()
            cursor.cursor.copy_expert(copy, spool, size=1 << 16)
            rows = cursor.rowcount
        reached("spooled")
        if path.stat().st_size <= rows * duck.LARGE_ROW_BYTES:
            with contextlib.suppress(duckdb.OutOfMemoryException), duck.kept() as reader:
                return _to_parquet(reader, path, spool.longest, learned)
        with duck.in_turn(patience=PATIENCE_SECONDS):
            with contextlib.suppress(duckdb.OutOfMemoryException), duck.connect() as reader:
                return _to_parquet(reader, path, spool.longest, learned)
            log.warning("rows of up to %s bytes are sealed with more memory", spool.longest)
            with duck.connect(memory=ROOMY_MEMORY) as reader:
                return _to_parquet(reader, path, spool.longest, learned)


@contextmanager
def _spool_file() -> Iterator[Path]:
    path = lake_dir() / "tmp" / f"{uuid.uuid4().hex}.csv"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _to_parquet(
    reader: duckdb.DuckDBPyConnection, path: Path, longest: int, learned: Learn | None
) -> Draft | None:
    columns = {name: name for name in COLUMNS} | {
        "person_h": f"{PERSON_HASH_SQL} AS person_h",
        "raw": "unhex(raw) AS raw",
    }
    line = max(longest + 16, 1 << 16)
    read = READ.format(
        columns=", ".join(columns.values()),
        longest=line,
        buffer=2 * line,
        kinds=", ".join(f"'{name}': '{kind}'" for name, kind in COPIED.items()),
        order=SORTED_BY,
    )
    with duck.at_most(reader, SECONDS):
        draft = write(reader, read, [str(path)], path=fresh_path(new_token()), project_id=None, level=0)
        if draft and learned:
            learned(reader, lake_dir() / draft.path)
        return draft


def _mark(ids: list[int], segment_id: int) -> None:
    Batch.objects.filter(id__in=ids, stored=0).update(seal=0)
    Batch.objects.filter(id__in=ids, stored__gt=0).update(seal=segment_id)
