"""What happens to projects and keys. The API, the admin and commands are interfaces to these."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeVar

import redis
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from eventsite.valkey import sync_client
from projects import keyring, keys, origins
from projects.keys import KeyKind
from projects.models import ApiKey, Membership, Project, Role

T = TypeVar("T")

logger = logging.getLogger(__name__)


class CreatedProject(NamedTuple):
    """A new project and its write key's secret, which is shown once and kept nowhere."""

    project: Project
    write_key: str

    def __repr__(self) -> str:  # what is printed or logged must not tell the secret
        return f"CreatedProject(project={self.project!r})"


class CreatedKey(NamedTuple):
    """A new key and its secret, which is shown once and kept nowhere."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:  # what is printed or logged must not tell the secret
        return f"CreatedKey(key={self.key!r})"


def create_project(*, name: str, owner: User, time_zone: str = "UTC") -> CreatedProject:
    """Founds a project with its owner and a first write key. Raises ValidationError for bad values."""
    project = Project(name=name.strip(), time_zone=time_zone)
    project.clean_fields()
    with transaction.atomic():
        project.save(force_insert=True)
        Membership.objects.create(project=project, user=owner, role=Role.OWNER)
        _, secret = create_key(project=project, kind=KeyKind.WRITE, name="first", by=owner)
    return CreatedProject(project, secret)


def change_project(project: Project, **changes: str | int | None) -> None:
    """Sets `name`, `time_zone` or a quota, already checked; only these columns: a deletion meanwhile stands."""
    for field, value in changes.items():
        setattr(project, field, value)
    project.save(update_fields=list(changes))


def create_key(
    *,
    project: Project,
    kind: KeyKind | str,
    name: str = "",
    allowed_origins: Iterable[str] = (),
    by: User | None = None,
) -> CreatedKey:
    """Adds a key that works at once; its origins are checked already. Raises Project.DoesNotExist when the project is deleted."""
    secret = keys.generate(KeyKind(kind))
    key = ApiKey(
        project=project,
        kind=KeyKind(kind).value,
        name=name,
        digest=keys.digest(secret),
        prefix=keys.shown(secret),
        allowed_origins=origins.tidy(allowed_origins),
        created_by=by,
    )
    with transaction.atomic():
        _lock_alive(project.pk)
        key.save(force_insert=True)
        _mirror_on_commit([key])
    return CreatedKey(key, secret)


def change_key(key: ApiKey, *, name: str | None = None, allowed_origins: Iterable[str] | None = None) -> None:
    """Sets what is given, already checked. Other origins count everywhere within the seconds that processes cache a key."""
    changes: dict[str, object] = {} if name is None else {"name": name}
    if allowed_origins is not None:
        changes["allowed_origins"] = origins.tidy(allowed_origins)
    with transaction.atomic():
        if changes:
            ApiKey.objects.filter(pk=key.pk).update(**changes)
        key.refresh_from_db()  # with a revocation of meanwhile
        _mirror_on_commit([key])


def revoke_key(key: ApiKey) -> None:
    """Stops a key, everywhere within the seconds that processes cache it. Once more changes nothing."""
    with transaction.atomic():
        ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
        key.refresh_from_db(fields=["revoked_at"])
        _mirror_on_commit([key])


def delete_project(project: Project) -> None:
    """Hides a project from every list and stops its keys. Its data is removed later, by maintenance."""
    now = timezone.now()
    with transaction.atomic():
        try:
            _lock_alive(project.pk)
        except Project.DoesNotExist:
            return
        Project.objects.filter(pk=project.pk).update(deleted_at=now)
        ApiKey.objects.filter(project=project, revoked_at__isnull=True).update(revoked_at=now)
        _mirror_on_commit(list(ApiKey.objects.filter(project=project)))
    project.deleted_at = now


def purgeable(*, deleted_for: timedelta = timedelta()) -> list[int]:
    """Returns the ids of projects deleted at least so long ago, the longest deleted first.

    Events may arrive for a while yet, from processes that cache a key and from the queue: remove data again
    until there is none, only then `purge`.
    """
    deleted = Project.objects.filter(deleted_at__lte=timezone.now() - deleted_for).order_by("deleted_at")
    return list(deleted.values_list("pk", flat=True))


def purge(project_id: int) -> bool:
    """Removes the row of a deleted project, its memberships and keys; False where there is no such row.

    A living project is never touched.
    """
    with transaction.atomic():
        deleted = Project.objects.select_for_update().filter(pk=project_id, deleted_at__isnull=False)
        project = deleted.first()
        if project is None:
            return False
        digests = list(project.keys.values_list("digest", flat=True))
        project.delete()
        transaction.on_commit(partial(_write_mirror, keyring.withdraw, digests), robust=True)
    return True


def _lock_alive(project_id: int) -> None:
    """Locks the row against a deletion, so that no key is born in a project that is being deleted."""
    Project.objects.select_for_update(no_key=True).get(pk=project_id, deleted_at__isnull=True)


def _mirror_on_commit(changed: list[ApiKey]) -> None:
    transaction.on_commit(partial(_write_mirror, keyring.publish, changed), robust=True)


def _write_mirror(write: Callable[[redis.Redis, list[T]], None], items: list[T]) -> None:
    """Writes after the commit, which a Valkey that is away must not undo: the tick does what fails here."""
    try:
        write(sync_client(), items)
    except redis.RedisError as error:
        logger.warning("mirror of %d keys left to the tick: %s", len(items), type(error).__name__)
