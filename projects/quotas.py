"""How many events a project may send: a rate with a burst, and a number a day. Decided by the push script, from a mirror.

Hash `es:quotas`: project -> "per second, burst, per day", for those projects whose quota is not the default. 0: no limit.
"""

from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from django.db.models import Q

from projects.models import Project

MIRROR = "es:quotas"


@dataclass(frozen=True, slots=True)
class Quota:
    """Events per second on average, at most `burst` at once, and per UTC day; 0 means without limit."""

    per_second: int
    burst: int
    per_day: int

    @property
    def at_once(self) -> int:
        """The burst as it works: a second's events where none is set."""
        return self.burst or self.per_second

    @property
    def text(self) -> str:
        return f"{self.per_second} {self.at_once} {self.per_day}"


def default() -> Quota:
    return Quota(settings.EVENTS_QUOTA_PER_SECOND, settings.EVENTS_QUOTA_BURST, settings.EVENTS_QUOTA_PER_DAY)


def quota_of(project: Project) -> Quota:
    """Returns the project's own numbers, each where it is not set from the settings."""
    usual = default()
    return Quota(
        usual.per_second if project.quota_per_second is None else project.quota_per_second,
        usual.burst if project.quota_burst is None else project.quota_burst,
        usual.per_day if project.quota_per_day is None else project.quota_per_day,
    )


def rebuild(client: redis.Redis) -> int:
    """Makes the mirror equal to the database; returns how many projects it changed. Raises redis.RedisError, django.db.Error."""
    unusual = (
        Q(quota_per_second__isnull=False) | Q(quota_burst__isnull=False) | Q(quota_per_day__isnull=False)
    )
    wanted = {str(project.pk): quota_of(project).text for project in Project.objects.filter(unusual)}
    mirrored: dict[bytes, bytes] = client.hgetall(MIRROR)  # type: ignore[assignment]
    known = {name.decode(): value.decode() for name, value in mirrored.items()}
    changed: Any = {name: text for name, text in wanted.items() if known.get(name) != text}
    gone = known.keys() - wanted.keys()
    if changed:
        client.hset(MIRROR, mapping=changed)
    if gone:
        client.hdel(MIRROR, *gone)
    return len(changed) + len(gone)
