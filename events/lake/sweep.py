"""Sweep: files that no question needs any more go, those that nobody ever listed too."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.db.models.functions import Now

from events.lake.layout import lake_dir, retired_path
from events.lake.publish import writing
from events.models import Segment

IN_PLACE: Final = timedelta(seconds=60)  # longer than any question that has begun to read it
KEPT: Final = timedelta(minutes=15)
ORPHAN_SECONDS: Final = 600  # a writer is ended long before
FOLDERS: Final = ("fresh", "lake", "tmp", "retired")


@dataclass(frozen=True, slots=True)
class Swept:
    """Files, by what became of them."""

    moved: int = 0
    deleted: int = 0
    orphans: int = 0


def sweep() -> Swept:
    """Moves and deletes the files of segments retired long enough ago, and removes orphans. Does nothing while others write.

    A crash midway leaves less to do: a file goes before its row does.
    """
    with writing() as is_free:
        if not is_free:
            return Swept()
        retired = Segment.objects.filter(retired_at__lte=Now() - IN_PLACE)
        old = dict(retired.filter(retired_at__lte=Now() - KEPT).values_list("id", "path"))
        deleted = sum(_delete(path) for path in old.values())
        Segment.objects.filter(id__in=old).delete()
        moved = sum(_move(path) for path in retired.values_list("path", flat=True))
        return Swept(moved, deleted, _remove_orphans())


def _move(path: str) -> bool:
    root = lake_dir()
    source, target = root / path, root / retired_path(path)
    if not source.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    _remove_if_empty(source.parent)
    return True


def _delete(path: str) -> bool:
    found = [file for file in (lake_dir() / path, lake_dir() / retired_path(path)) if file.exists()]
    for file in found:
        file.unlink(missing_ok=True)
        _remove_if_empty(file.parent)
    return bool(found)


def _remove_orphans() -> int:
    """Files older than any writer's work that no row names: of a writer that crashed, or whose transaction failed."""
    old = list(_old_files())
    if not old:
        return 0
    listed: set[str] = set()
    for path in Segment.objects.values_list("path", flat=True):
        listed |= {path, retired_path(path)}
    orphans = [file for file in old if str(file.relative_to(lake_dir())) not in listed]
    for file in orphans:
        file.unlink(missing_ok=True)
        _remove_if_empty(file.parent)
    return len(orphans)


def _old_files() -> Iterator[Path]:
    before = time.time() - ORPHAN_SECONDS
    for folder in FOLDERS:
        for file in (lake_dir() / folder).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and file.name != "manifest.json" and file.stat().st_mtime < before:
                    yield file


def _remove_if_empty(folder: Path) -> None:
    """A writer that finds its folder gone fails and comes again: not within the few moments after it made one."""
    with contextlib.suppress(OSError):
        if folder.parent.name.startswith("project="):
            folder.rmdir()
