"""What did not follow its plan: counted by name and field, with the last few examples, on its way to where people look.

From the door and from the store into Valkey, no round trip on the request path; from there by the tick into PostgreSQL.
A crash loses at most a process's last second of counts. The ledger counts for itself: warned, rejected or dead.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import redis
import redis.asyncio
from django.conf import settings
from django.db import DataError, connection, transaction
from django.utils import timezone

from events import times
from events.plan import wire
from events.plan.check import ANY, Check, Violation
from events.plan_models import PlanViolation

log = logging.getLogger(__name__)

MAX_KINDS: Final = 10_000  # in Valkey between two ticks
MAX_HELD: Final = 1_000  # kinds in a process between two sendings
MAX_FIELDS: Final = 100  # of one name: clients may spell fields as they like
_encode = msgspec.json.Encoder().encode

Kind = tuple[int, str, str]  # project, name, field


class OffPlan(msgspec.Struct, frozen=True):
    """An event that does not follow the plan of its name."""

    project_id: int
    event_id: str
    check: Check
    violation: Violation


class Tallied:
    """Counts between two sendings."""

    def __init__(self) -> None:
        self._events: dict[Kind, int] = {}
        self._examples: dict[Kind, dict[str, Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, found: Iterable[OffPlan]) -> None:
        for one in found:
            kind = one.project_id, one.check.name, one.violation.group
            if kind not in self._events and len(self._events) >= MAX_HELD:
                kind = one.project_id, one.check.name, ANY
                if kind not in self._events and len(self._events) >= 2 * MAX_HELD:
                    continue
            self._events[kind] = self._events.get(kind, 0) + 1
            self._examples[kind] = {
                "at": time.time(),
                "event_id": one.event_id,
                "field": one.violation.field,
                "detail": one.violation.detail,
                "value": one.violation.value,
                "mode": one.check.mode,
                "version": one.check.version,
            }

    def _args(self) -> list[Any]:
        args: list[Any] = [MAX_KINDS]
        for kind, events in self._events.items():
            args += [_encode(kind), events, _encode(self._examples[kind])]
        self._events, self._examples = {}, {}
        return args

    def send(self, client: redis.Redis) -> None:
        """Adds them to Valkey's and starts anew. Raises redis.RedisError; they are lost then."""
        client.register_script(wire.script("tally"))([wire.COUNTS, wire.EXAMPLES], self._args())

    async def send_async(self, client: redis.asyncio.Redis) -> None:
        """The same on an asyncio client."""
        await client.register_script(wire.script("tally"))([wire.COUNTS, wire.EXAMPLES], self._args())


# The taking is kept with each row: one that is copied again, after a crash before it was deleted, adds nothing.
ADD: Final = """
INSERT INTO events_planviolation AS v (project_id, name, field, events, first_at, last_at, examples, taken)
SELECT p, n, f, c, a, a, e, %s FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::jsonb[])
    AS added(p, n, f, c, a, e) ORDER BY p, n, f
ON CONFLICT (project_id, name, field) DO UPDATE SET events = v.events + excluded.events,
    last_at = greatest(v.last_at, excluded.last_at), taken = excluded.taken,
    examples = jsonb_path_query_array(excluded.examples || v.examples, '$[0 to 2]')
WHERE v.taken <> excluded.taken
"""


def copy(client: redis.Redis) -> int:
    """Brings what was counted into the database, once; returns how many kinds. Raises redis.RedisError, django.db.Error."""
    keys = [wire.COUNTS, wire.EXAMPLES, wire.TAKEN_COUNTS, wire.TAKEN_EXAMPLES]
    counts, examples = map(_pairs, client.register_script(wire.script("take"))(keys, [str(uuid4())]))
    if not counts:
        return 0
    token = UUID(counts.pop(b"").decode())
    events: dict[Kind, int] = defaultdict(int)
    last: dict[Kind, dict[str, Any]] = {}
    known = _fields([msgspec.json.decode(name, type=Kind) for name in counts])
    for name, count in counts.items():
        project_id, event_name, field = msgspec.json.decode(name, type=Kind)
        fields = known[project_id, event_name]
        if field not in fields and len(fields) >= MAX_FIELDS:
            field = ANY
        fields.add(field)
        kind = project_id, event_name, field
        events[kind] += int(count)
        last[kind] = msgspec.json.decode(examples[name])
    try:
        with transaction.atomic():
            _add(events, last, token)
    except DataError:  # nothing here may keep the tick from its work
        log.exception("counts of events that do not follow their plan cannot be kept")
    client.delete(wire.TAKEN_COUNTS, wire.TAKEN_EXAMPLES)
    return len(events)


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    items = iter(flat)
    return dict(zip(items, items, strict=True))


def _fields(kinds: list[Kind]) -> dict[tuple[int, str], set[str]]:
    """The fields that are kept already, of the names concerned."""
    found: dict[tuple[int, str], set[str]] = defaultdict(set)
    rows = PlanViolation.objects.filter(
        project_id__in={project_id for project_id, _, _ in kinds}, name__in={name for _, name, _ in kinds}
    )
    for project_id, name, field in rows.values_list("project_id", "name", "field"):
        found[project_id, name].add(field)
    return found


def _add(events: dict[Kind, int], last: dict[Kind, dict[str, Any]], token: UUID) -> None:
    kinds = sorted(events)
    values: list[list[Any]] = [
        [project_id for project_id, _, _ in kinds],
        [name for _, name, _ in kinds],
        [field for _, _, field in kinds],
        [events[kind] for kind in kinds],
        [_moment(last[kind]) for kind in kinds],
        [_encode([last[kind] | {"at": times.text(_moment(last[kind]))}]).decode() for kind in kinds],
    ]
    with connection.cursor() as cursor:
        cursor.execute(ADD, [token, *values])


def _moment(example: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(example["at"], UTC)


def forget_examples(project_id: int) -> None:
    """Drops what was shown of a project's events, which may be a person's; the counts stay, and examples come anew."""
    rows = PlanViolation.objects.filter(project_id=project_id)
    with transaction.atomic():
        # In the order of ADD, which may be at work.
        in_order = rows.order_by("project_id", "name", "field").select_for_update()
        rows.filter(pk__in=list(in_order.values_list("pk", flat=True))).update(examples=[])


def expire() -> int:
    """Forgets kinds that have not been seen for as long as dead letters are kept; returns how many."""
    before = timezone.now() - timedelta(days=settings.EVENTS_DEAD_DAYS)
    forgotten, _ = PlanViolation.objects.filter(last_at__lt=before).delete()
    return forgotten
