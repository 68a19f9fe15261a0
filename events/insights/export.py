"""Export: every event of a question as a file, made and sent piece by piece, so that neither memory nor disk holds it whole.

Each piece is a stretch of time, written by the question process to a file that has no name any more when it is sent. A piece
reads the files of its own moment: an event that was sealed before the export began is in exactly one of them.
"""

import contextlib
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import IO, Final

from django.conf import settings

from events.insights import client, shown
from events.insights.client import Format, Query
from events.insights.errors import Busy, FileMissing, TooLarge, TooManyRows, TooSlow
from events.insights.periods import DAY, from_us
from events.insights.which import EventsWanted, Which
from events.lake.layout import lake_dir
from events.lake.snapshot import Snapshot, snapshot

PIECE_ROWS: Final = 200_000  # half a second's work, some 100 MB of lines
PIECE_FILE_BYTES: Final = 16_000_000  # of compressed columns: lines are ten times that
MAX_CUTS_A_DAY: Final = 1_440
BLOCK_BYTES: Final = 1 << 18
PIECE_SECONDS: Final = 600.0
FIRST_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 600.0  # for its turn, once it has begun: another export may be long
RETRY_SECONDS: Final = 0.5


class ExportWanted(EventsWanted, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """Which events, in which format."""

    format: Format = "ndjson"


class Closed(Exception):
    """Whoever reads has gone."""


class Export:
    """One export under way. `start`, then `read` until it returns nothing; `close` at any time, from any thread."""

    def __init__(
        self, project_id: int, wanted: Which, format: Format, *, piece_rows: int = PIECE_ROWS
    ) -> None:
        self.project_id, self.wanted, self.format, self.piece_rows = project_id, wanted, format, piece_rows
        self._pieces: Iterator[tuple[datetime, datetime]] = iter(())
        self._file: IO[bytes] | None = None
        self._connection: socket.socket | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def start(self) -> datetime:
        """Returns the time up to which all that was stored is in the export. Errors: as client.export.

        The first piece is made by then, unless it is the whole: a client that leaves is noticed in `read` only.
        """
        found = snapshot(self.project_id, since=self.wanted.since, until=self.wanted.until)
        if self.format == "parquet":  # cannot be put together from several
            scan, where = self.wanted.lake(found)
            sql = f"SELECT 1 FROM {scan.sql()} WHERE {where} LIMIT 0"
            client.run(Query(sql, scan.parameters, 1, settings.EVENTS_QUESTION_SECONDS))
            self._pieces = iter([(self.wanted.since, self.wanted.until)])
        else:
            self._pieces = pieces(self._weights(found), self.piece_rows, self.wanted.since, self.wanted.until)
            self._file = self._made(*next(self._pieces), seconds=FIRST_SECONDS)
        return found.as_of

    def read(self) -> bytes:
        """Returns the next block, b"" at the end. Errors: as client.export, Closed; what was read is then a part of the whole."""
        while True:
            if self._file is not None:
                if block := self._file.read(BLOCK_BYTES):
                    return block
                self._file.close()
            if (following := next(self._pieces, None)) is None:
                self._file = None
                return b""
            self._file = self._patiently(*following)
            if self.format == "csv":
                self._file.readline()  # the names of the columns stand in the first piece

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _patiently(self, since: datetime, until: datetime) -> IO[bytes]:
        last = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._made(since, until, seconds=PIECE_SECONDS)
            except Busy:
                if time.monotonic() > last:
                    raise
                time.sleep(RETRY_SECONDS)

    def _made(self, since: datetime, until: datetime, *, seconds: float) -> IO[bytes]:
        try:
            return self._written(since, until, seconds)
        except FileMissing:  # replaced, and removed since the snapshot
            return self._written(since, until, seconds)

    def _written(self, since: datetime, until: datetime, seconds: float) -> IO[bytes]:
        found = snapshot(self.project_id, since=since, until=until)
        scan, where = self.wanted.lake(found, since=since, until=until)
        sql = _select(self.format, scan.sql(), where)
        path = lake_dir() / "tmp" / "exports" / f"{uuid.uuid4().hex}.{self.format}"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            client.export(
                sql, scan.parameters, format=self.format, path=path, seconds=seconds, opened=self._opened
            )
            return path.open("rb")
        finally:
            path.unlink(missing_ok=True)

    def _opened(self, connection: socket.socket) -> None:
        with self._lock:
            if self._is_closed:
                raise Closed
            self._connection = connection

    def _weights(self, found: Snapshot) -> Counter[date]:
        """How much there is of each UTC day, in rows. Counted where a condition leaves out many, else by the files."""
        if self.wanted.is_narrow:
            scan, where = self.wanted.lake(found)
            sql = f"SELECT epoch_us(occurred_at) // {DAY} AS day, count(*) FROM {scan.sql()} WHERE {where} GROUP BY day"
            with contextlib.suppress(TooSlow, TooLarge, TooManyRows, Busy):
                query = Query(sql, scan.parameters, MAX_CUTS_A_DAY * 100, settings.EVENTS_QUESTION_SECONDS)
                return Counter({from_us(day * DAY).date(): rows for day, rows in client.run(query).rows})
        weights: Counter[date] = Counter()
        for file in found.files:
            days = (file.last_day - file.first_day).days + 1
            weight = max(
                file.rows, file.bytes * self.piece_rows // PIECE_FILE_BYTES if not file.is_shared else 0
            )
            for number in range(days):
                weights[file.first_day + timedelta(days=number)] += weight // days + 1
        return weights


def pieces(
    weights: Counter[date], rows: int, since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Cuts [since, until) where days begin, and heavy days too. At least one piece; together they leave nothing out."""
    start, held = since, 0
    for day in sorted(weights):
        begins, weight = datetime(day.year, day.month, day.day, tzinfo=UTC), weights[day]
        parts = min(-(-weight // rows), MAX_CUTS_A_DAY)
        cuts = [begins + timedelta(days=1) * part / parts for part in range(1, parts)]
        if held and held + weight > rows:
            cuts.insert(0, begins)
            held = 0
        for cut in cuts:
            if start < cut < until:
                yield start, cut
                start = cut
        held += weight // max(parts, 1)
    yield start, until


_TYPED: Final = "event_id AS id, client_event_id, name, user_id, anonymous_id, session_id, occurred_at, received_at, stored_at"
_SHOWN: Final[dict[Format, str]] = {
    "ndjson": shown.lake_line(),
    "csv": ", ".join(f"{sql} AS {name}" for name, sql in shown.lake_columns().items()),
    "parquet": f"{_TYPED}, properties, context, raw",
}


def _select(format: Format, scan: str, where: str) -> str:
    """The oldest first; a Parquet file, which may be large, in the order of the lake: sorting it would need the disk twice."""
    order = "" if format == "parquet" else " ORDER BY event.occurred_at, event.id"
    return f"SELECT {_SHOWN[format]} FROM (SELECT * FROM {scan} WHERE {where}) AS event{order}"
