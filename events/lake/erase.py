"""Erase: a person's rows, or those of deleted projects, leave the table and every file of the lake."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
from django.db import Error, connection, transaction

from events.catalogue.learn import forget_values
from events.lake import duck, publish, rewrite
from events.lake.layout import lake_dir
from events.lake.scope import numbers, of_projects
from events.models import Segment
from events.plan.tally import forget_examples

FILES_AT_ONCE: Final = 20  # in one transaction: nothing is sealed meanwhile
# By both texts, not by `person_h`: a row that has a user id as well goes with its anonymous id too.
# Plan: an index of every partition that begins with the project.
DELETE: Final = "DELETE FROM events_event WHERE project_id = %s AND (user_id = %s OR anonymous_id = %s)"
OF_PERSON: Final = "project_id = ? AND (user_id = ? OR anonymous_id = ?)"


@dataclass(frozen=True, slots=True)
class Proof:
    """After the erasure all files that may hold rows of the project were read: live, retired and unlisted ones."""

    files: int
    rows: int


@dataclass(frozen=True, slots=True)
class Erased:
    """`rows` left the table, `lake_rows` the lake, of which `files` were written anew and `deleted` deleted."""

    rows: int
    lake_rows: int
    files: int
    deleted: int
    proof: Proof


def erase_person(project_id: int, person: str) -> Erased:
    """Takes a person's user id or anonymous id; removes every event that has it as either, and proves it.

    Not within a transaction. Durable on return; the old files are gone at once, and a question in flight asks again. What is
    stored later is new. A crash leaves the person in the table, or in retired files only: the next call finishes.
    """
    done = [_Some()]
    while len(done) == 1 or done[-1].is_full:
        done.append(_erase_some(project_id, person, after=done[-1].last_id))
    with _alone():
        # What was stored meanwhile, and sealed: since then nothing can be.
        done.append(_erase_some(project_id, person, after=done[-1].last_id, at_most=None))
        rewrite.tell_others(segment for some in done for segment in some.retired)
        forget_examples(project_id)  # also of events that were refused, and are in no row
        deleted = _delete_files(project_id, person)
        proof = _prove(project_id, person)
    return Erased(
        rows=sum(some.rows for some in done),
        lake_rows=sum(some.lake_rows for some in done),
        files=sum(len(some.retired) for some in done),
        deleted=deleted,
        proof=proof,
    )


def erase_projects(project_ids: Sequence[int]) -> set[int]:
    """Takes deleted projects whose rows have left the table; returns those of which no file holds anything any more.

    Their own segments are retired, shared ones written anew, some at a time; the sweep deletes the files. Does nothing
    where another writer is at work: come again.
    """
    with publish.writing() as is_mine:
        if not is_mine:
            return set()
        live = Segment.objects.filter(of_projects(project_ids), retired_at=None).order_by("id")
        own, shared = list(live.exclude(project=None)), live.filter(project=None)
        done = rewrite.without(shared, f"project_id IN ({numbers(project_ids)})", at_most=FILES_AT_ONCE)
        publish.publish(done.drafts, retire=[*(segment.pk for segment in own), *done.retired_ids])
    rewrite.tell_others([*own, *done.retired])
    held = Segment.objects.filter(of_projects(project_ids))
    return set(project_ids) - {project_id for segment in held for project_id in rewrite.rows_of(segment)}


@dataclass(frozen=True, slots=True)
class _Some:
    """One transaction's work. `last_id`: live segments up to this one do not hold the person; sealing and merging give
    higher ones.
    """

    rows: int = 0
    lake_rows: int = 0
    retired: tuple[Segment, ...] = ()
    last_id: int = 0
    is_full: bool = False


def _erase_some(project_id: int, person: str, *, after: int, at_most: int | None = FILES_AT_ONCE) -> _Some:
    """All of the person's rows in the table, sealed or not, and some files."""
    with transaction.atomic(durable=True), publish.writing(wait=True):
        with connection.cursor() as cursor:
            cursor.execute(DELETE, [project_id, person, person])
            rows = cursor.rowcount
        live = Segment.objects.filter(of_projects([project_id]), retired_at=None, id__gt=after).order_by("id")
        newest = live.values_list("id", flat=True).last() or after
        done = rewrite.without(live, OF_PERSON, [project_id, person, person], at_most=at_most)
        publish.publish(done.drafts, retire=done.retired_ids)
        if rows or done.rows:
            forget_values(project_id)
    is_full = len(done.retired) == at_most
    last_id = done.retired_ids[-1] if is_full else newest
    return _Some(rows, done.rows, tuple(done.retired), last_id, is_full)


@contextmanager
def _alone() -> Iterator[None]:
    """Over several transactions neither a seal nor a merge is at work: the lake's files stay as they are."""
    seconds = publish.WORK_SECONDS  # fences a process that froze, as `writing` does
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{seconds}s'; SET idle_session_timeout = '{seconds}s'")
        try:
            for lock in (1, 0):  # in a merge's order
                cursor.execute("SELECT pg_advisory_lock(%s, %s)", [publish.LOCK, lock])
            yield
        finally:
            with suppress(Error):  # with the connection its locks are gone
                cursor.execute(
                    "SELECT pg_advisory_unlock_all(); RESET lock_timeout; RESET idle_session_timeout"
                )


def _delete_files(project_id: int, person: str) -> int:
    """While `_alone`: deletes what is not live and holds the person. Returns how many files that were."""
    root, deleted = lake_dir(), 0
    # Nobody writes rows now: what lies here was left by a crash. Manifests hold none, and one may be on its way.
    for part in (root / "tmp").rglob("*"):
        if part.is_file() and part.suffix != ".json":
            part.unlink(missing_ok=True)
    live = set(Segment.objects.filter(retired_at=None).values_list("path", flat=True))
    with duck.connect() as reader:
        for path in _files(project_id):
            if str(path.relative_to(root)) in live or not _count(reader, path, project_id, person):
                continue
            path.unlink()
            Segment.objects.filter(path__endswith=f"/{path.name}", retired_at__isnull=False).delete()
            deleted += 1
    return deleted


def _prove(project_id: int, person: str) -> Proof:
    """While `_alone`: counts the person's rows in what is left."""
    with duck.connect() as reader:
        counts = [_count(reader, path, project_id, person) for path in _files(project_id)]
    return Proof(files=len(counts), rows=sum(counts))


def _files(project_id: int) -> Iterator[Path]:
    """Every file that may hold rows of a project, listed or not."""
    for folder in ("fresh", "retired", "tmp", f"lake/project={project_id}"):
        yield from sorted((lake_dir() / folder).rglob("*.parquet"))


def _count(reader: duckdb.DuckDBPyConnection, path: Path, project_id: int, person: str) -> int:
    found = reader.execute(
        rewrite.COUNT.format(where=OF_PERSON), [str(path), project_id, person, person]
    ).fetchone()
    return int(found[0]) if found else 0
