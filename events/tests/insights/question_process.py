"""Files of a lake to ask about, and the process that forks for a stranger's SQL."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import msgspec

from events.insights import wire
from events.insights.client import BoxQuery
from events.insights.wire import Reply, Request
from events.lake import layout

MEMORY_MB = 256
CANARY = "canary_of_somebody_else"
# Columns as in layout.COLUMNS; 50 names, 1,000 persons, every value follows from the row's number.
_ROWS = """
SELECT i::BIGINT AS id, {project}::BIGINT AS project_id, md5('e' || i)::UUID AS event_id, NULL::VARCHAR AS client_event_id,
    '{prefix}' || (i % 50) AS name, CASE WHEN i % 3 = 0 THEN 'u' || (i % 100) END AS user_id, 'a' || (i % 1000) AS anonymous_id,
    md5_number_upper(coalesce(CASE WHEN i % 3 = 0 THEN 'u' || (i % 100) END, 'a' || (i % 1000)))::UBIGINT AS person_h,
    NULL::VARCHAR AS session_id, TIMESTAMPTZ '2026-11-20 00:00:00+00' + to_seconds(i % 86400) AS occurred_at,
    TIMESTAMPTZ '2026-11-21 00:00:00+00' AS received_at, TIMESTAMPTZ '2026-11-21 00:00:01+00' AS stored_at,
    '{{"plan": "p' || (i % 7) || '"}}' AS properties, '{{}}' AS context, NULL::BLOB AS raw{more}
FROM range({rows}) t(i) ORDER BY project_id, name, occurred_at, id
"""


def write_segment(
    path: Path, *, project: str = "1", rows: int = 1_000, prefix: str = "event_", more: str = ""
) -> Path:
    """Writes a file as the lake has it. `project` and `more` (further columns) are SQL, with the row's number as `i`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(config={"threads": 1}) as duck:
        duck.execute("SET TimeZone = 'UTC'")
        select = _ROWS.format(project=f"({project})", prefix=prefix, rows=rows, more=more)
        duck.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE {layout.ROW_GROUP_ROWS})")
    path.chmod(0o444)
    return path


@dataclass
class Zygote:
    """The process that forks for each question, without the server. `check`: an expression for the first wall."""

    check: str = "box.box_check.check"
    memory_mb: int = MEMORY_MB
    _process: "subprocess.Popen[bytes] | None" = field(default=None)
    _channel: socket.socket | None = field(default=None)

    def __enter__(self) -> "Zygote":
        ours, theirs = socket.socketpair()
        code = (
            "import socket, sys\nfrom events.insights import box\nfrom events.insights.errors import Invalid\n"
            f"box.serve(socket.socket(fileno=int(sys.argv[1])), {self.memory_mb}, {self.check})"
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={"PATH": os.environ["PATH"], "PASSWORD": CANARY},
            )
        self._channel = ours
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None and self._channel is not None
        self._channel.close()
        self._process.wait(10)

    def ask(self, query: BoxQuery) -> Reply:
        """Returns the reply; that of a process which ended without one is "away"."""
        assert self._channel is not None
        body = {name: getattr(query, name) for name in BoxQuery.__slots__ if name != "seconds"}
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self._channel, [b"F"], [theirs.fileno()])
            ours.settimeout(query.seconds + 5)
            try:
                ours.sendall(wire.pack(Request(wire.BOX, query.seconds, "", msgspec.msgpack.encode(body))))
                return wire.receive_reply(ours)
            except (EOFError, ConnectionError):
                return Reply(wire.AWAY)
