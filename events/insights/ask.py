"""One question from JSON to answer: read it, let its kind answer it, say how fresh and how dear it was."""

import hashlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from django.conf import settings

from events.insights import client, question
from events.insights.errors import FileMissing
from events.insights.kept import Kept
from events.insights.kind import Kind, Rows
from events.lake.snapshot import Snapshot, snapshot
from events.times import text as time_text
from projects.models import Project

MAX_ROWS: Final = 100_000
kept: Final = Kept()


@dataclass
class Asked:
    """One attempt to answer (kind.py, Ask)."""

    project_id: int
    time_zone: str
    question: Any
    now: datetime
    snapshots: list[Snapshot] = field(default_factory=list)
    runs: int = 0
    runs_kept: int = 0

    def snapshot(
        self, *, since: datetime | None, until: datetime | None, received_before: datetime | None = None
    ) -> Snapshot:
        taken = snapshot(self.project_id, since=since, until=until, received_before=received_before)
        self.snapshots.append(taken)
        return taken

    def run(self, sql: str, parameters: dict[str, Any], *, max_rows: int | None = None) -> Rows:
        self.runs += 1
        key = hashlib.blake2b(msgspec.msgpack.encode([self.project_id, sql, parameters])).digest()
        if (found := kept.get(key)) is not None:
            self.runs_kept += 1
            return found
        query = client.Query(sql, parameters, max_rows or MAX_ROWS, settings.EVENTS_QUESTION_SECONDS)
        result = client.run(query)
        kept.put(key, result.columns, result.rows)
        return result


def ask(project: Project, kind: Kind, sent: Any, *, now: datetime | None = None) -> dict[str, Any]:
    """Takes a question's JSON, returns its answer. Raises what errors.py lists; nothing is changed anywhere."""
    began = time.perf_counter()
    typed = question.read(kind.question, sent)
    moment = now or datetime.now(UTC)
    try:
        asked = Asked(project.pk, project.time_zone, typed, moment)
        found = kind.answer(asked)
    except FileMissing:  # replaced, and removed while this question was long on its way
        asked = Asked(project.pk, project.time_zone, typed, moment)
        found = kind.answer(asked)
    lag = max((taken.lag for taken in asked.snapshots), default=timedelta())
    return found | {
        "as_of": time_text(min((taken.as_of for taken in asked.snapshots), default=moment).astimezone(UTC)),
        "lag_seconds": round(lag.total_seconds(), 3),
        "rows_scanned": sum(taken.rows for taken in asked.snapshots),
        "seconds": round(time.perf_counter() - began, 4),
        "cached": 0 < asked.runs == asked.runs_kept,
    }
