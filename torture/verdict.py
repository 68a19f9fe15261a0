"""The count: every acknowledged event is stored, dead or queued; none is there twice; ledger and lake agree with the table."""

import io
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import redis

from systemtest.stack import Stack, wait
from torture.crowd import Acknowledged

QUIET_SECONDS = 90.0
LEDGER_SECONDS = 15.0  # the tick copies the queue's counts once a second

LOST = """
SELECT place, event_id::text FROM acknowledged AS a
WHERE NOT EXISTS (SELECT FROM events_event AS e WHERE e.project_id = a.project_id AND e.event_id = a.event_id)
  AND NOT EXISTS (SELECT FROM events_deadletter AS d WHERE d.project_id = a.project_id AND d.event_id = a.event_id)"""
DOUBLED = """
SELECT coalesce(a.place, -1), count(*) FROM (
    SELECT project_id, event_id FROM events_event GROUP BY 1, 2 HAVING count(*) > 1
    UNION ALL
    SELECT project_id, event_id FROM events_deadletter GROUP BY project_id, event_id, received_at HAVING count(*) > 1
    UNION ALL
    SELECT d.project_id, d.event_id FROM events_deadletter AS d JOIN events_event AS e USING (project_id, event_id)
) AS twice LEFT JOIN acknowledged AS a USING (project_id, event_id) GROUP BY 1"""
BURIED = """
SELECT place, count(*) FROM acknowledged AS a WHERE NOT is_poison
  AND EXISTS (SELECT FROM events_deadletter AS d WHERE d.project_id = a.project_id AND d.event_id = a.event_id) GROUP BY 1"""


@dataclass
class Verdict:
    """Counts by place, that is by the fault that was at work when the event was acknowledged.

    `buried`: dead letters of sound events. `unbalanced`: the ledger's hours that do not add up. `waits`: still queued.
    `lake`: how the lake differs from the table.
    """

    lost: Counter[int] = field(default_factory=Counter)
    doubled: Counter[int] = field(default_factory=Counter)
    buried: Counter[int] = field(default_factory=Counter)
    unbalanced: list[str] = field(default_factory=list)
    waits: int = 0
    stored: int = 0
    dead: int = 0
    lake: str = ""

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.buried or self.unbalanced or self.waits or self.lake)

    def told(self) -> str:
        text = (
            f"lost {self.lost.total()}, doubled {self.doubled.total()}, wrongly buried {self.buried.total()}"
        )
        text += f", still queued {self.waits}, ledger {'; '.join(self.unbalanced) or 'balances'}"
        return f"{text}, lake {self.lake or 'equals the table'}"


def judge(stack: Stack, acknowledged: Sequence[Acknowledged]) -> Verdict:
    """Call it while nobody sends. Waits until the queue is empty, then looks for every acknowledged event."""
    verdict = Verdict()
    with suppress(AssertionError):
        wait(lambda: _is_empty(stack), QUIET_SECONDS, "an empty queue")
    queued = _queued_ids(stack)
    verdict.waits = len(queued)
    connection = psycopg2.connect(stack.credentials["database_url"], connect_timeout=5)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMP TABLE acknowledged (project_id bigint, event_id uuid, place int, is_poison boolean) ON COMMIT DROP"
            )
            lines = (f"{a.project_id}\t{a.event_id}\t{a.place}\t{a.is_poison}\n" for a in acknowledged)
            cursor.copy_expert("COPY acknowledged FROM STDIN", io.StringIO("".join(lines)))
            cursor.execute("ANALYZE acknowledged")
            cursor.execute(LOST)
            verdict.lost = Counter(place for place, event_id in cursor.fetchall() if event_id not in queued)
            cursor.execute(DOUBLED)
            verdict.doubled = Counter(dict(cursor.fetchall()))
            cursor.execute(BURIED)
            verdict.buried = Counter(dict(cursor.fetchall()))
            cursor.execute(
                "SELECT (SELECT count(*) FROM events_event), (SELECT count(*) FROM events_deadletter)"
            )
            ((verdict.stored, verdict.dead),) = cursor.fetchall()
    finally:
        connection.close()
    verdict.unbalanced = _balance(stack)
    verdict.lake = _difference(stack)
    return verdict


def _difference(stack: Stack) -> str:
    """Waits until everything is sealed; returns what `lake verify` says where it finds a difference."""
    unsealed = "SELECT count(*) FROM events_batch WHERE seal IS NULL"
    with suppress(AssertionError):
        wait(lambda: stack.ask(unsealed)[0][0] == 0, QUIET_SECONDS, "everything is sealed")
    verified = stack.run("manage.py", "lake", "verify")
    return "" if verified.returncode == 0 else (verified.stdout + verified.stderr)[-1_000:]


def _is_empty(stack: Stack) -> bool:
    valkey: Any = stack.valkey
    with suppress(redis.RedisError):
        return not int(valkey.hget("es:depth", "e") or 0) and not valkey.xlen("es:stream")
    return False


def _queued_ids(stack: Stack) -> set[str]:
    valkey: Any = stack.valkey
    payloads = [fields[b"d"] for _, fields in valkey.xrange("es:stream")]
    return {
        match.decode()
        for payload in payloads
        for match in re.findall(rb'"event_id":"([0-9a-f-]{36})"', payload)
    }


def _balance(stack: Stack) -> list[str]:
    """Waits for a balanced ledger; returns what does not balance by then."""
    deadline = time.monotonic() + LEDGER_SECONDS
    while (found := unbalanced(stack)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def unbalanced(stack: Stack) -> list[str]:
    """accepted = stored + duplicate + dead + discarded + queued, by project and hour; and accepted as the queue counts it."""
    valkey: Any = stack.valkey
    counted, depth = valkey.hgetall("es:accepted"), valkey.hgetall("es:depth")
    found = []
    for project, hour, accepted, stored, duplicate, dead, discarded, set_back in stack.ask(
        "SELECT project_id, extract(epoch FROM hour)::bigint / 3600, accepted, stored, duplicate, dead, discarded, set_back"
        " FROM events_ledger ORDER BY 1, 2"
    ):
        queued = int(depth.get(f"q:{project}:{hour}".encode(), 0))
        here = f"project {project}, hour {hour}: accepted {accepted}"
        if accepted != stored + duplicate + dead + discarded + queued:
            parts = (
                f"stored {stored}, duplicate {duplicate}, dead {dead}, discarded {discarded}, queued {queued}"
            )
            found.append(f"{here}, {parts}")
        elif set_back:
            found.append(f"{here}, of which the queue has forgotten {set_back}")
        elif int(counted.get(f"{project}:{hour}".encode(), accepted)) != accepted:
            found.append(f"{here}, the queue counted {counted[f'{project}:{hour}'.encode()]!r}")
    return found
