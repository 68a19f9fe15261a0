"""The mirror of the plans in Valkey: written after a change, and made equal to the database by the tick.

PostgreSQL decides. Versions are only ever added, so the number of the last one and how many there are tell whether
anything changed. At its memory limit Valkey refuses the writes: a change then waits for room, and the old plan holds on.
"""

from collections.abc import Iterable
from typing import Final
from uuid import uuid4

import msgspec
import redis
from django.db.models import Count, Max, QuerySet

from events.plan import wire
from events.plan_models import PlanMode, PlanVersion
from projects.access import alive

# It expires, so that what was lost or altered in Valkey is found by a full comparison once a minute.
VERSION_SECONDS: Final = 60


def in_force(project_id: int | None = None) -> QuerySet[PlanVersion]:
    """Returns the latest version of each name, of one project or of all. Plan: the unique index, once through."""
    versions = PlanVersion.objects.order_by("project_id", "name", "-version").distinct("project_id", "name")
    return versions if project_id is None else versions.filter(project_id=project_id)


def publish(client: redis.Redis, project_ids: Iterable[int]) -> None:
    """Writes these projects' plans as they are now. Raises redis.RedisError; the tick then makes up for it."""
    for project_id in project_ids:
        versions = [version for version in in_force(project_id) if version.mode != PlanMode.OFF]
        pipe = client.pipeline(transaction=True)
        if versions:
            pipe.hset(wire.REVISIONS, str(project_id), str(max(version.pk for version in versions)))
            pipe.hset(wire.DOCUMENTS, str(project_id), _document(versions))
        else:
            pipe.hdel(wire.REVISIONS, str(project_id))
            pipe.hdel(wire.DOCUMENTS, str(project_id))
        pipe.set(wire.VERSION, str(uuid4()), ex=VERSION_SECONDS)
        pipe.execute()


def rebuild(client: redis.Redis) -> int:
    """Makes the mirror equal to the database; returns how many projects it changed. One aggregate when nothing changed.

    Raises redis.RedisError and django.db.Error. A crash midway leaves the old version behind: the next call does the rest.
    """
    numbers = PlanVersion.objects.aggregate(last=Max("id"), versions=Count("id"))
    version = f"{numbers['last']} {numbers['versions']}".encode()
    if client.get(wire.VERSION) == version:
        return 0
    # Valkey is read first: what the database tells afterwards is then at least as new as what it is compared with.
    mirrored: dict[bytes, bytes] = client.hgetall(wire.REVISIONS)  # type: ignore[assignment]
    wanted: dict[int, int] = {}
    living = set(alive().values_list("id", flat=True)) if numbers["versions"] else set()
    for project_id, pk, mode in in_force().values_list("project_id", "id", "mode"):
        if mode != PlanMode.OFF and project_id in living:
            wanted[project_id] = max(pk, wanted.get(project_id, 0))
    known = {int(name): value for name, value in mirrored.items()}
    changed = [project_id for project_id, pk in wanted.items() if known.get(project_id) != str(pk).encode()]
    gone = known.keys() - wanted.keys()
    publish(client, changed)
    for project_id in gone:
        client.hdel(wire.REVISIONS, str(project_id))
        client.hdel(wire.DOCUMENTS, str(project_id))
    client.set(wire.VERSION, version, ex=VERSION_SECONDS)
    return len(changed) + len(gone)


def _document(versions: list[PlanVersion]) -> bytes:
    entries = {
        version.name: wire.Entry(version.mode, version.version, msgspec.Raw(version.schema.encode()))
        for version in versions
    }
    return wire.encode(wire.Document(entries))
