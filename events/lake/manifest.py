"""A project's live files as one JSON file beside them, replaced whole: for readers that know nothing of PostgreSQL."""

import os
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import connection, transaction

from events.lake.layout import lake_dir, manifest_path, number_column, text_column
from events.lake.publish import LOCK
from events.lake.snapshot import OLDEST_UNSEALED
from events.models import Segment

VERSION: Final = 1
AT_ONCE: Final = 500  # projects read by one statement
MOMENT_SECONDS: Final = 0.2  # nothing is sealed meanwhile
LEAST_SECONDS: Final = 1.0
SHARE: Final = 10  # the pause is so many times what the last moment took; a replaced file stays for a minute


@dataclass(slots=True)
class Dirty:
    """Projects whose files are others than their manifests say. Kept in memory: a new process writes all of them once."""

    projects: dict[int, None] = field(default_factory=dict)  # a set that keeps its order
    next_at: float = 0.0

    def add(self, projects: Collection[int]) -> None:
        self.projects |= dict.fromkeys(projects)

    def write_if_due(self) -> int:
        """Writes those added first, as many as a moment allows, where the last moment was long enough ago."""
        started, number = time.monotonic(), 0
        if started < self.next_at:
            return 0
        while self.projects and time.monotonic() - started < MOMENT_SECONDS:
            chosen = list(self.projects)[:AT_ONCE]
            number += write(chosen)
            for project_id in chosen:
                del self.projects[project_id]
        if number:
            ended = time.monotonic()
            self.next_at = ended + max(LEAST_SECONDS, SHARE * (ended - started))
        return number


def write(project_ids: Collection[int]) -> int:
    """Writes the manifests of these projects, each by rename; returns their number.

    A crash leaves old ones, whole: the next start writes all. A project without files gets an empty one if it has a folder.
    """
    number = 0
    wanted = sorted(project_ids)
    with transaction.atomic(), connection.cursor() as cursor:
        # One process at a time, the worker or a command: what was read first must not be written last.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 2)", [LOCK])
        for at in range(0, len(wanted), AT_ONCE):
            for project_id, content in _contents(wanted[at : at + AT_ONCE]):
                number += _replace(project_id, content)
    return number


def write_all() -> int:
    """Writes the manifest of every project that has files or a manifest."""
    folders = (lake_dir() / "lake").glob("project=*")
    known = {int(folder.name.partition("=")[2]) for folder in folders}
    return write(known | _with_files())


def _with_files() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT project_id FROM events_segment WHERE retired_at IS NULL AND project_id IS NOT NULL UNION"
            " SELECT jsonb_object_keys(project_rows)::bigint FROM events_segment WHERE retired_at IS NULL AND project_id IS NULL"
        )
        return {row[0] for row in cursor.fetchall()}


def _contents(project_ids: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    with connection.cursor() as cursor:
        # The batches first: one that is sealed in between is then said to be behind, and is not.
        cursor.execute(OLDEST_UNSEALED)
        oldest, now = cursor.fetchone()
    live = Segment.objects.filter(retired_at=None).order_by("first_day", "id")
    shared = [(segment, _file(segment, shared=True)) for segment in live.filter(project=None)]
    own: dict[int, list[Segment]] = {project_id: [] for project_id in project_ids}
    for segment in live.filter(project_id__in=project_ids):
        own[segment.project_id or 0].append(segment)
    for project_id, segments in own.items():
        files = [_file(segment, shared=False) for segment in segments]
        key = str(project_id)
        files += [
            file | {"rows": rows}
            for segment, file in shared
            if (rows := (segment.project_rows or {}).get(key))
        ]
        yield (
            project_id,
            {
                "version": VERSION,
                "project": project_id,
                "written_at": _text(now),
                "as_of": _text(oldest or now),
                "files": files,
            },
        )


def _file(segment: Segment, *, shared: bool) -> dict[str, Any]:
    return {
        "path": segment.path,
        "rows": segment.rows,
        "shared": shared,  # then it holds other projects' rows too: project_id says whose
        "first_at": _text(segment.first_at),
        "last_at": _text(segment.last_at),
        "columns": {
            key: {
                "s": text_column(key) if kinds["s"] else None,
                "n": number_column(key) if kinds["n"] else None,
            }
            for key, kinds in segment.columns.items()
        },
        "complete": segment.is_complete,
    }


def _text(at: datetime) -> str:
    return at.isoformat()


def _replace(project_id: int, content: dict[str, Any]) -> bool:
    target = lake_dir() / manifest_path(project_id)
    if not content["files"] and not target.parent.exists():
        return False
    part = lake_dir() / "tmp" / f"{uuid.uuid4().hex}.json"
    try:
        try:
            part.write_bytes(msgspec.json.encode(content))
            os.replace(part, target)
        except FileNotFoundError:
            for folder in (target.parent, part.parent):
                folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(msgspec.json.encode(content))
            os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return True
