"""The reference's events in a lake whose files are of every sort: shared with others, with columns of properties, without."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from events.insights import ask
from events.lake import publish
from events.lake.layout import SORTED_BY, number_column, pointer, text_column
from events.lake.publish import Draft
from events.persons import PERSON_HASH_SQL
from events.tests.insights import reference
from events.tests.insights.reference import Event
from projects.models import Project

PROJECT, STRANGER = 900_001, 900_002
_TABLE = (
    "id BIGINT, project_id BIGINT, event_id UUID, client_event_id VARCHAR, name VARCHAR, user_id VARCHAR, anonymous_id VARCHAR,"
    " session_id VARCHAR, occurred_at TIMESTAMPTZ, properties VARCHAR"
)
_SELECT = (
    f"SELECT id, project_id, event_id, client_event_id, name, user_id, anonymous_id, {PERSON_HASH_SQL} AS person_h, session_id,"
    " occurred_at, occurred_at AS received_at, occurred_at AS stored_at, properties, '{}' AS context, NULL::BLOB AS raw"
)


@dataclass(frozen=True)
class Seeded:
    """A project whose live segments hold exactly `events`."""

    project: Project
    events: list[Event]


@pytest.fixture(scope="session")
def seeded_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Draft], list[Event]]:
    root = tmp_path_factory.mktemp("seeded")
    events = reference.events()
    before = django_settings.EVENTS_LAKE_DIR
    django_settings.EVENTS_LAKE_DIR = root
    try:
        return root, list(_drafts(events)), events
    finally:
        django_settings.EVENTS_LAKE_DIR = before


@pytest.fixture
def seeded(
    db: None, settings: Settings, seeded_files: tuple[Path, list[Draft], list[Event]], _own_lake: None
) -> Seeded:
    settings.EVENTS_LAKE_DIR, drafts, events = seeded_files
    publish.publish(drafts)
    ask.kept.clear()
    return Seeded(Project.objects.create(pk=PROJECT, name="Seeded", time_zone="UTC"), events)


def _drafts(events: list[Event]) -> Iterator[Draft]:
    """Three sorts, a third each, by chance of the id; of the last, one file knows every property and one does not."""
    duck = duckdb.connect(config={"threads": 2})
    duck.execute(f"SET TimeZone = 'UTC'; CREATE TABLE seed ({_TABLE})")
    rows = [_row(PROJECT, event) for event in events] + [
        _row(STRANGER, event) for event in reference.events(200, seed=8)
    ]
    # Through a file: one INSERT a row would take longer than the tests.
    spool = Path(django_settings.EVENTS_LAKE_DIR) / "seed.json"
    spool.write_text("\n".join(json.dumps(row) for row in rows))
    duck.execute(
        "INSERT INTO seed BY NAME SELECT * FROM read_json($1, format='newline_delimited', columns=$2)",
        [str(spool), {part.split()[0]: part.split()[1] for part in _TABLE.split(", ")}],
    )
    spool.unlink()

    def write(where: str, path: str, project: int | None, **options: Any) -> Draft:
        select = options.pop("select", "")
        draft = publish.write(
            duck, f"{_SELECT}{select} FROM seed WHERE {where} ORDER BY {SORTED_BY}", path=path,
            project_id=project, level=0, **options,
        )  # fmt: skip
        assert draft is not None
        return draft

    own = f"project_id = {PROJECT}"
    yield write(f"id % 6 = 0 OR project_id = {STRANGER}", "fresh/a.parquet", None)
    yield write(f"{own} AND id % 6 = 1", "fresh/b.parquet", None)
    yield write(f"{own} AND id % 6 = 2", "lake/plain.parquet", PROJECT)
    columns = {
        "plan": {"s": True, "n": True},
        "amount": {"s": True, "n": True},
        "a.b": {"s": True, "n": False},
    }
    yield write(
        f"{own} AND id % 6 = 3", "lake/some.parquet", PROJECT, columns=columns, select=_columns(columns)
    )
    every = {key: {"s": False, "n": False} for event in events for key in event.properties} | columns
    for rest in (4, 5):
        yield write(
            f"{own} AND id % 6 = {rest}", f"lake/all{rest}.parquet", PROJECT, columns=every,
            select=_columns(columns), is_complete=True,
        )  # fmt: skip


def _columns(columns: dict[str, dict[str, bool]]) -> str:
    found = ""
    for key, kinds in columns.items():
        place = pointer(key).replace("'", "''")
        found += f", json_extract_string(properties, '{place}') AS {text_column(key)}"
        if kinds["n"]:
            found += (
                f", try_cast(json_extract(properties, '{place}')::VARCHAR AS DOUBLE) AS {number_column(key)}"
            )
    return found


def _row(project: int, event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "project_id": project,
        "event_id": str(event.event_id),
        "client_event_id": None,
        "name": event.name,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "session_id": event.session_id,
        "occurred_at": event.occurred_at.isoformat(),
        "properties": json.dumps(event.properties, ensure_ascii=False),
    }
