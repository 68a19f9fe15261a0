"""A segment's file once more without some of its rows: what erasing, mending and retention are made of."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import duckdb
from django.db import connection

from events.lake import duck, manifest, publish
from events.lake.layout import ROW_GROUP_ROWS, lake_dir
from events.models import Segment

SECONDS: Final = publish.WORK_SECONDS - 20  # for one file
ROOMY_MEMORY: Final = "1GB"  # for rows so large that the usual bound does not hold them
COUNT: Final = "SELECT count(*) FROM read_parquet(?, hive_partitioning = false) WHERE {where}"
# Without ORDER BY: one thread keeps the file's order, and its memory stays that of a row group.
REST: Final = "SELECT * FROM read_parquet(?, hive_partitioning = false) WHERE ({where}) IS NOT TRUE"
GROUP_ROWS: Final = "SELECT max(row_group_num_rows) FROM parquet_metadata(?)"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """New files and what they replace: for `publish`. `rows` were left out."""

    drafts: list[publish.Draft]
    retired: list[Segment]
    rows: int

    @property
    def retired_ids(self) -> list[int]:
        return [segment.pk for segment in self.retired]


def without(
    segments: Iterable[Segment], where: str, values: Sequence[Any] = (), *, at_most: int | None = None
) -> Rewritten:
    """Within `writing`: writes those files anew that hold rows for which `where` is true, without these.

    `at_most` so many files. Durable on return, listed by `publish`; a crash leaves orphans. Raises duckdb.Error, OSError.
    """
    drafts: list[publish.Draft] = []
    retired: list[Segment] = []
    rows = 0
    with duck.connect() as reader:
        for segment in segments:
            found = count(reader, segment, where, values)
            if not found:
                continue
            draft = _rewrite(segment, where, values)
            drafts += [draft] if draft else []
            retired.append(segment)
            rows += found
            _stay_awake()
            if len(retired) == at_most:
                break
    return Rewritten(drafts, retired, rows)


def rows_of(listed: Segment | publish.Draft) -> dict[int, int]:
    """Rows by project."""
    if listed.project_id is not None:
        return {listed.project_id: listed.rows}
    return {int(key): rows for key, rows in (listed.project_rows or {}).items()}


def tell_others(changed: Iterable[Segment | publish.Draft]) -> None:
    """After the commit: writes the manifests of all projects that have rows in these."""
    manifest.write({project_id for listed in changed for project_id in rows_of(listed)})


def count(reader: duckdb.DuckDBPyConnection, segment: Segment, where: str, values: Sequence[Any] = ()) -> int:
    """How many rows of a segment's file meet a condition."""
    path = str(lake_dir() / segment.path)
    found = reader.execute(COUNT.format(where=where), [path, *values]).fetchone()
    return int(found[0]) if found else 0


def _rewrite(segment: Segment, where: str, values: Sequence[Any]) -> publish.Draft | None:
    try:
        return _write(segment, where, values, duck.MEMORY)
    except duckdb.OutOfMemoryException:
        log.warning("%s is written anew with more memory", segment.path)
        return _write(segment, where, values, ROOMY_MEMORY)


def _write(segment: Segment, where: str, values: Sequence[Any], memory: str) -> publish.Draft | None:
    path = str(lake_dir() / segment.path)
    with duck.connect(memory=memory) as writer, duck.at_most(writer, SECONDS):
        # A file with many columns has small groups: they are held in memory.
        groups = writer.execute(GROUP_ROWS, [path]).fetchone()
        return publish.write(
            writer,
            REST.format(where=where),
            [path, *values],
            path=str(PurePosixPath(segment.path).with_name(f"{publish.new_token()}.parquet")),
            project_id=segment.project_id,
            level=segment.level,
            columns=segment.columns,
            is_complete=segment.is_complete,
            group_rows=groups[0] if groups and groups[0] else ROW_GROUP_ROWS,
        )


def _stay_awake() -> None:
    """The writer's transaction is ended when it says nothing for long: a file later it is still at work."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
