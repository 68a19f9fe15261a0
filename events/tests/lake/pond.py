"""A lake of few rows: stored in the table as the store does it, and read back from its files."""

import json
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import duckdb
from django.db import connection

from events.lake.layout import COLUMNS, lake_dir
from events.models import Batch, Segment

# What breaks formats: ends of lines, quotes, separators, things that look like NULL or the end of a COPY.
ODD: Final = [
    "",
    " ",
    "\\.",
    "\\N",
    "NULL",
    "\n",
    "\r\n",
    "a\rb",
    "\x01",
    "\x02",
    "\x02\x02",
    '"',
    '""',
    "'",
    ",",
    "\\",
    "\t",
]
ODD_TEXTS: Final = [*ODD, "a\n\\.\nb", "ü😀\u2028\x7f", "x" * 200, "\ufeff", "𝒳́"]
INSERT: Final = """
INSERT INTO events_event (project_id, event_id, client_event_id, name, user_id, anonymous_id, session_id, occurred_at,
    received_at, stored_at, properties, context, raw, batch_id)
SELECT project_id, coalesce(event_id, gen_random_uuid()), client_event_id, coalesce(name, 'a'), user_id, anonymous_id, session_id,
    coalesce(occurred_at, now()), coalesce(received_at, now()), statement_timestamp(), coalesce(properties, '{}'),
    coalesce(context, '{}'), decode(raw, 'hex'), %s
FROM jsonb_to_recordset(%s::jsonb) AS r(project_id bigint, event_id uuid, client_event_id text, name text, user_id text,
    anonymous_id text, session_id text, occurred_at timestamptz, received_at timestamptz, properties jsonb,
    context jsonb, raw text)
RETURNING id
"""


def put(rows: Iterable[dict[str, Any]], *, stored: int | None = None) -> Batch:
    """Stores rows as one batch. `raw` as hex; what is missing is filled in."""
    sent = json.dumps([{"project_id": 1} | row for row in rows], default=str)
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence('events_batch', 'id'))")
        (batch_id,) = cursor.fetchone()
        cursor.execute(INSERT, [batch_id, sent])
        ids = [row[0] for row in cursor.fetchall()]
    return Batch.objects.create(
        id=batch_id, slot=0, attempts=1, events=len(ids), stored=len(ids) if stored is None else stored,
        duplicate=0, dead=0, days=[], first_id=min(ids, default=None), last_id=max(ids, default=None), bytes=len(sent),
    )  # fmt: skip


def odd_rows(count: int, *, seed: int) -> list[dict[str, Any]]:
    """Rows of three projects that hold every odd text somewhere, and long ones."""
    chance = random.Random(seed)
    text = lambda: chance.choice([None, *ODD_TEXTS])  # noqa: E731
    now = datetime.now(UTC)
    return [
        {
            "project_id": chance.randint(1, 3),
            "name": ODD_TEXTS[n % len(ODD_TEXTS)],
            "user_id": text(),
            "anonymous_id": text(),
            "session_id": text(),
            "client_event_id": text(),
            "occurred_at": now - timedelta(microseconds=chance.randrange(10**12)),
            "properties": {
                chance.choice(ODD_TEXTS): chance.choice([*ODD_TEXTS, 1, 1.5, None, True, [1, {}], {"a": ""}])
            }
            | ({"long": "y\n" * chance.randrange(40_000)} if chance.random() < 0.02 else {}),
            "context": {"ip": chance.choice(ODD_TEXTS)},
            "raw": chance.choice([None, "", "00ff0a0d5c", "01" * 5_000]),
        }
        for n in range(count)
    ]


def in_table() -> list[tuple[Any, ...]]:
    """Every row of the table, in the lake's columns but for `person_h`."""
    columns = ", ".join(
        {"properties": "properties::text", "context": "context::text"}.get(c, c) for c in _plain()
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM events_event ORDER BY id")
        return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()]


def in_lake(select: str = "", *, segments: Sequence[Segment] | None = None) -> list[tuple[Any, ...]]:
    """Every row of the live files in the same form."""
    live = list(Segment.objects.filter(retired_at=None)) if segments is None else segments
    if not live:
        return []
    with duckdb.connect(config={"threads": 1}) as reader:
        reader.execute("SET TimeZone = 'UTC'")
        files = [str(lake_dir() / segment.path) for segment in live]
        rows = reader.execute(
            f"SELECT {select or ', '.join(_plain())} FROM read_parquet(?, union_by_name = true) ORDER BY id",
            [files],
        ).fetchall()
    return rows


def _plain() -> list[str]:
    return [name for name in COLUMNS if name != "person_h"]
