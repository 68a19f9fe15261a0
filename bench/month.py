"""A month of events from a seed: 200,000 persons, 50 names, ten properties; loaded into a stack's table as stored batches.

The lake is not touched: its worker seals and merges what it finds, as after any ingestion.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import psycopg2
from psycopg2.extensions import connection as Connection

SEED: Final = 0.42
DAYS: Final = 30
PERSONS: Final = 200_000
NAMES: Final = 50
BATCH_ROWS: Final = 1_000
PROPERTIES: Final = ("ms", "plan", "path", "browser", "amount", "ref", "country", "version", "ok", "step")
TABLE_COLUMNS: Final = (
    "id, project_id, event_id, name, user_id, session_id, occurred_at, received_at, stored_at,"
    " properties, context, batch_id"
)
# Few names and persons are frequent, many are rare; the table is in order of time, as events come.
GENERATE: Final = """
CREATE OR REPLACE TABLE drawn AS
SELECT 'event_' || lpad(floor({names} * pow(random(), 3))::int::varchar, 2, '0') AS name,
    'user_' || floor({persons} * pow(random(), 2))::int::varchar AS person,
    {start}::bigint + (random() * 86400e6)::bigint AS us,
    floor(random() * 1000)::int AS ms, floor(500 * pow(random(), 2))::int AS path, floor(random() * 4)::int AS browser,
    round(random() * 500, 2) AS amount, floor(random() * 3)::int AS plan, floor(random() * 12)::int AS country,
    floor(random() * 9)::int AS version, random() AS key
FROM range({rows});
CREATE OR REPLACE TABLE events AS
SELECT {first_id} + row_number() OVER (ORDER BY us, key) AS id, {project} AS project_id,
    md5(concat_ws('-', {first_id}, us, key))::uuid AS event_id, name, person AS user_id,
    's' || (us // 3600000000) || person AS session_id,
    make_timestamptz(us) AS occurred_at, make_timestamptz(us + 40000) AS received_at, make_timestamptz(us + 90000) AS stored_at,
    to_json({{'ms': ms, 'plan': (['pro', 'free', 'team'])[1 + plan], 'path': '/page/' || path,
        'browser': (['chrome', 'firefox', 'safari', 'edge'])[1 + browser], 'amount': amount, 'ref': 'google',
        'country': (['DE', 'FR', 'US', 'GB', 'IN', 'BR', 'JP', 'PL', 'IT', 'ES', 'NL', 'SE'])[1 + country],
        'version': '1.2.' || version, 'ok': ms < 950, 'step': ms % 7}})::varchar AS properties, '{{}}' AS context
FROM drawn ORDER BY us, key
"""
IDEAL: Final = """
COPY (SELECT event_id, name, user_id, md5_number_upper(user_id) AS person_h, occurred_at, properties, {typed}
    FROM events ORDER BY name, occurred_at)
TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 30720)
"""
LAKE_ROWS: Final = """
SELECT id, project_id, event_id, NULL::varchar AS client_event_id, name, user_id, NULL::varchar AS anonymous_id,
    md5_number_upper(user_id) AS person_h, session_id, occurred_at, received_at, stored_at, properties, context, NULL::blob AS raw
FROM events WHERE id > {low} AND id <= {high}
"""
BATCHES: Final = """
INSERT INTO events_batch (id, slot, attempts, stored_at, events, stored, duplicate, dead, days, first_id, last_id, bytes)
SELECT batch_id, 0, 1, now(), count(*), count(*), 0, 0, array_agg(DISTINCT (occurred_at AT TIME ZONE 'UTC')::date),
    min(id), max(id), 350 * count(*)
FROM events_event WHERE id > %s AND id <= %s GROUP BY batch_id
"""


@dataclass(frozen=True, slots=True)
class Month:
    """What was loaded: `since` and `until` are UTC midnights; `ideal` holds one Parquet file a day, written by hand."""

    project_id: int
    events: int
    since: datetime
    until: datetime
    ideal: list[Path]
    seconds: float


def load(
    database_url: str,
    *,
    project_id: int,
    events: int,
    folder: Path,
    make_partition: Callable[[date], object],
    say: Callable[[str], None] = print,
) -> Month:
    """Makes the month that ended last midnight. Day by day, so that memory is bounded; some minutes for 10 million."""
    begin = time.monotonic()
    until = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = until - timedelta(days=DAYS)
    duck = duckdb.connect(
        config={"threads": 2, "memory_limit": "2GB", "temp_directory": str(folder / "spill")}
    )
    duck.execute(f"SET TimeZone = 'UTC'; SET threads = 1; SELECT setseed({SEED})")
    ideal = []
    days = [since + timedelta(days=number) for number in range(DAYS)]
    for day in days:
        make_partition(day.date())
    with psycopg2.connect(database_url) as postgres:
        first_id = _next_id(postgres)
        for number, day in enumerate(days):
            rows = events * (number + 1) // DAYS - events * number // DAYS
            _generate(duck, day, rows, project_id, first_id)
            _copy(duck, postgres, folder / "day.csv", first_id, rows)
            ideal.append(_write_ideal(duck, folder / f"{day:%Y%m%d}.parquet"))
            first_id += rows
            if number % 5 == 4:
                say(f"  {number + 1} of {DAYS} days, {time.monotonic() - begin:.0f} s")
        postgres.commit()
    _tidy(database_url)
    return Month(project_id, events, since, until, ideal, time.monotonic() - begin)


def load_lake(*, project_id: int, events: int, folder: Path, say: Callable[[str], None] = print) -> Month:
    """The same month straight into the lake, without rows: what is asked of ten times as many events. Needs Django set up."""
    begin = time.monotonic()
    # Yesterday is PostgreSQL's to tell, as it has a partition for it: the month ends the day before.
    until = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    since = until - timedelta(days=DAYS)
    duck = duckdb.connect(
        config={"threads": 2, "memory_limit": "4GB", "temp_directory": str(folder / "spill")}
    )
    duck.execute(f"SET TimeZone = 'UTC'; SET threads = 1; SELECT setseed({SEED})")
    ideal, first_id = [], 0
    for number in range(DAYS):
        day = since + timedelta(days=number)
        rows = events * (number + 1) // DAYS - events * number // DAYS
        _generate(duck, day, rows, project_id, first_id)
        ideal.append(_write_ideal(duck, folder / f"{day:%Y%m%d}.parquet"))
        _publish_day(duck, project_id, day.date(), first_id, rows)
        first_id += rows
        if number % 5 == 4:
            say(f"  {number + 1} of {DAYS} days, {time.monotonic() - begin:.0f} s")
    return Month(project_id, events, since, until, ideal, time.monotonic() - begin)


def _publish_day(
    duck: duckdb.DuckDBPyConnection, project_id: int, day: date, first_id: int, rows: int
) -> None:
    """Files as a merge makes them of a day: sorted, with columns for properties, of bounded size."""
    from events.lake import plan, properties, publish
    from events.lake.layout import COLUMNS, day_path

    parts = -(-rows // plan.FILE_ROWS)
    for part in range(parts):
        low, high = first_id + rows * part // parts, first_id + rows * (part + 1) // parts
        source = LAKE_ROWS.format(low=low, high=high)
        chosen = properties.choose(duck, source, [], rows=high - low)
        wanted, extra, pointers = properties.select(chosen)
        draft = publish.write(
            duck,
            f"SELECT {', '.join(COLUMNS)}{wanted} FROM (SELECT *{extra} FROM ({source} ORDER BY name, occurred_at, id))",
            pointers,
            path=day_path(project_id, day, publish.new_token()),
            project_id=project_id,
            level=3,
            columns=chosen.columns,
            is_complete=chosen.is_complete,
        )
        with publish.writing(wait=True):
            publish.publish([draft] if draft else [])


def _generate(
    duck: duckdb.DuckDBPyConnection, day: datetime, rows: int, project_id: int, first_id: int
) -> None:
    start = int(day.timestamp()) * 1_000_000
    values = {"names": NAMES, "persons": PERSONS, "start": start, "rows": rows}
    duck.execute(GENERATE.format(**values, project=project_id, first_id=first_id))


def _copy(
    duck: duckdb.DuckDBPyConnection, postgres: Connection, spool: Path, first_id: int, rows: int
) -> None:
    columns = TABLE_COLUMNS.replace("batch_id", f"{_batch_base(first_id)} + id // {BATCH_ROWS} AS batch_id")
    duck.execute(f"COPY (SELECT {columns} FROM events ORDER BY id) TO '{spool}' (FORMAT csv, HEADER false)")
    with postgres.cursor() as cursor, spool.open("rb") as source:
        cursor.copy_expert(f"COPY events_event ({TABLE_COLUMNS}) FROM STDIN (FORMAT csv)", source)
        cursor.execute(BATCHES, [first_id, first_id + rows])
    postgres.commit()
    spool.unlink()


def _batch_base(first_id: int) -> int:
    """Keeps the batches of two days apart: a day does not end with a whole one."""
    return first_id // BATCH_ROWS + 1_000_000


def _write_ideal(duck: duckdb.DuckDBPyConnection, path: Path) -> Path:
    pointers = ", ".join(f"'/{name}'" for name in PROPERTIES)
    numbers = ("ms", "amount", "step")
    typed = ", ".join(
        [f"x[{place + 1}] AS s_{name}" for place, name in enumerate(PROPERTIES)]
        + [f"try_cast(x[{PROPERTIES.index(name) + 1}] AS double) AS n_{name}" for name in numbers]
    )
    source = f"(SELECT *, json_extract_string(properties, [{pointers}]) AS x FROM events)"
    duck.execute(IDEAL.format(typed=typed, path=path).replace("FROM events", f"FROM {source}"))
    return path


def _next_id(postgres: Connection) -> int:
    with postgres.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM events_event")
        return int(cursor.fetchone()[0])  # type: ignore[index]


def _tidy(database_url: str) -> None:
    """Ids and statistics as after real ingestion."""
    postgres = psycopg2.connect(database_url)
    postgres.autocommit = True
    with postgres.cursor() as cursor:
        for table in ("events_event", "events_batch"):
            cursor.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) + 1 FROM {table}))"
            )
        cursor.execute("VACUUM ANALYZE events_event")
    postgres.close()
