"""Very many rows, made by PostgreSQL itself. Needs Django's settings."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from django.db import connection, transaction

from events import partitions

# One in 100,000 is `rare`; 50,000 users; each id as sent is another.
EVENTS: Final = """
INSERT INTO {table} (id, project_id, event_id, client_event_id, name, user_id, occurred_at, received_at, stored_at,
    properties, context, batch_id)
SELECT nextval(pg_get_serial_sequence('events_event', 'id')), (%(projects)s::bigint[])[1 + g %% %(several)s],
    gen_random_uuid(), 'evt-' || g,
    CASE WHEN g %% 100000 = 777 THEN 'rare' ELSE 'page_view_' || g %% 20 END, 'u-' || g %% 50000,
    t, t, t, '{{"path": "/a", "n": 1}}', '{{}}', 1
FROM (SELECT g, %(day)s::date AT TIME ZONE 'UTC' + (g - %(first)s) * (interval '1 day' / %(rows)s) AS t
      FROM generate_series(%(first)s::bigint, %(first)s + %(rows)s - 1) AS g) AS made
"""
LETTERS: Final = """
INSERT INTO events_deadletter (project_id, event_id, name, payload, code, sqlstate, field, error, stage, attempts,
    received_at, first_failed_at, last_failed_at, fingerprint, state)
SELECT (%(projects)s::bigint[])[1 + g %% %(several)s], gen_random_uuid(), 'order_' || g %% 20, '{{}}', 'data_error',
    (ARRAY['23514', '22P02'])[1 + g %% 2], 'field_' || g %% 50, 'refused', 'store', 1, t, t, t,
    left(md5((g %% 50)::text), 16), (ARRAY['waiting', 'replayed', 'discarded'])[1 + g %% 3]
FROM (SELECT g, now() - g * interval '1 second' AS t FROM generate_series(%(rows)s, 1, -1) AS g) AS made
"""
BATCHES: Final = """
INSERT INTO events_batch (slot, attempts, stored_at, events, stored, duplicate, dead, days, seal)
SELECT g %% 2, 1, now() - g * interval '1 second', 1000, 1000, 0, 0, ARRAY[current_date], 0
FROM generate_series(%(rows)s, 1, -1) AS g
"""
HOURS: Final = """
INSERT INTO events_ledger (project_id, hour, accepted, stored, duplicate, dead)
SELECT (%(projects)s::bigint[])[p], date_trunc('hour', now(), 'UTC') - (h + 2) * interval '1 hour', 100, 100, 0, 0
FROM generate_series(1, %(several)s) AS p, generate_series(1, %(rows)s) AS h
ON CONFLICT DO NOTHING
"""
AUDIT: Final = """
INSERT INTO events_auditentry (project_id, at, by_name, action, letters, what)
SELECT (%(projects)s::bigint[])[1 + g %% %(several)s], now() - g * interval '1 second', 'ada',
    (ARRAY['replay', 'discard', 'check', 'export'])[1 + g %% 4], 1, '{{}}'
FROM generate_series(%(rows)s, 1, -1) AS g
"""
REPLAYS: Final = """
INSERT INTO events_replay (project_id, by_name, created_at, ended_at, filter, rate, state, total, until_id, counts)
SELECT (%(projects)s::bigint[])[1 + g %% %(several)s], 'ada', now() - g * interval '1 minute', now(), '{{}}', 200,
    'done', 1, 1, '{{"sent": 1, "on_its_way": 0, "stored": 1, "duplicate": 0, "buried": 0, "skipped": 0}}'
FROM generate_series(%(rows)s, 1, -1) AS g
"""
OUTAGES: Final = """
INSERT INTO events_drainfailure (slot, first_at, last_at, attempts, sqlstate, error, healed_at)
SELECT g %% 2, t, t, 4, (ARRAY['08006', '53100'])[1 + g %% 2], 'away', t
FROM (SELECT g, now() - g * interval '1 minute' AS t FROM generate_series(%(rows)s, 1, -1) AS g) AS made
"""


def fill_day(day: date, projects: Sequence[int], rows: int, *, first: int = 1) -> None:
    """Makes a day's partition anew with so many events, `evt-<first>` and on; whatever was in it is gone.

    The rows come first and the indexes with the attaching, each by one sort: a third of the time.
    """
    table = partitions.name(day)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        cursor.execute(f"CREATE TABLE {table} (LIKE events_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'; SET LOCAL statement_timeout = 0")
        values = _values(projects, rows) | {"day": day, "first": first}
        cursor.execute(EVENTS.format(table=table), values)
        cursor.execute(f"CREATE UNIQUE INDEX {table}_event ON {table} (event_id, project_id)")
        cursor.execute(
            f"ALTER TABLE events_event ATTACH PARTITION {table}"
            f" FOR VALUES FROM ('{day} 00:00:00+00') TO (timestamptz '{day} 00:00:00+00' + interval '1 day')"
        )
        cursor.execute(f"ANALYZE {table}")


def fill(statement: str, projects: Sequence[int], rows: int) -> None:
    """Adds rows to one of the small tables."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(statement.format(), _values(projects, rows))
        cursor.execute(f"ANALYZE {statement.split()[2]}")


def _values(projects: Sequence[int], rows: int) -> dict[str, Any]:
    return {"projects": list(projects), "several": len(projects), "rows": rows}
