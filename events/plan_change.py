"""Changing a tracking plan: a new version of one name, with who made it, kept in the audit log and told to every process."""

import contextlib
from typing import Any, Final

import msgspec
import redis
from django.db import transaction

from events.audit import audit
from events.plan import mirror
from events.plan.check import compile_schema
from events.plan.diff import diff, shortened
from events.plan_models import PlanMode, PlanVersion
from eventsite.valkey import sync_client
from projects.models import Project

MAX_NAMES: Final = 200  # a project's; each process holds them


class TooManyNames(Exception):
    """The project has plans for as many names as one may."""


class Outdated(Exception):
    """Somebody else has made a version since; `version` is the one in force, 0 where there is none."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def change(
    project: Project,
    name: str,
    *,
    by: str,
    mode: str,
    schema: Any = None,
    note: str = "",
    based_on: int | None = None,
) -> PlanVersion:
    """Takes a schema as values (None: as it is), returns the version in force, which is the old one where nothing differs.

    Durable on return: version and audit entry. Every process knows within 5 s. Raises BadSchema, Outdated, TooManyNames.
    """
    if schema is not None:
        compile_schema(schema)
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)  # one change of a project's plan at a time
        old = mirror.in_force(project.pk).filter(name=name).first()
        if based_on is not None and based_on != (old.version if old else 0):
            raise Outdated(old.version if old else 0)
        known = msgspec.json.decode(old.schema) if old else {}
        wanted = known if schema is None else schema
        changes = shortened(diff(known, wanted))
        if old and not changes and old.mode == mode:
            return old
        if old is None and PlanVersion.objects.filter(project=project, version=1).count() >= MAX_NAMES:
            raise TooManyNames
        made = PlanVersion.objects.create(
            project=project,
            name=name,
            version=old.version + 1 if old else 1,
            mode=mode,
            schema=msgspec.json.encode(wanted).decode(),
            changes=changes,
            note=note,
            by_name=by[:150],
        )
        what = {"name": name, "version": made.version, "mode": mode, "was": old.mode if old else PlanMode.OFF}
        audit("plan", by=by, project_id=project.pk, letters=0, what=what | {"changes": len(changes)})
        transaction.on_commit(lambda: _tell(project.pk))
    made.refresh_from_db()
    return made


def _tell(project_id: int) -> None:
    with contextlib.suppress(redis.RedisError):  # the tick makes up for it
        mirror.publish(sync_client(), [project_id])
