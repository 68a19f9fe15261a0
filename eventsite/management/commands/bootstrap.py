"""`manage.py bootstrap`: the database ready for use, a first admin, a demo project, and `credentials.json`.

Repeatable. What is shown once (password, token, keys) stays in credentials.json. Where that file is lost, new
ones are made beside the old; where the data are new, the old file is replaced.
"""

import json
import secrets
import sys
from typing import Any, cast
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.utils import NotSupportedError
from knox.models import get_token_model

from events import partitions
from eventsite import state, vendor, versions
from eventsite.valkey import sync_client
from projects import services
from projects.models import Project, Role

ADMIN = "admin"
DEMO = "Demo"
SECRET_FIELDS = ("admin_user", "admin_password", "api_token", "project_id", "write_key", "read_key")
ONE_AT_A_TIME = 0x65737570  # advisory lock: two stacks on one real server do not migrate at once


class Command(BaseCommand):
    help = "Checks the servers, migrates, makes partitions, the first admin and the demo project."
    requires_system_checks = []  # noqa: RUF012  checks may ask tables that only come now

    def handle(self, *args: Any, **options: Any) -> None:
        check_files()
        check_servers()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [ONE_AT_A_TIME])
            try:
                call_command("migrate", interactive=False, verbosity=options["verbosity"], stdout=self.stdout)
                partitions.ensure()
                write_credentials()
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ONE_AT_A_TIME])


def warn(text: str) -> None:
    print(f"eventsite: {text}", file=sys.stderr)


def check_files() -> None:
    """Errors: CommandError, one line, when a file that browsers get is not the one that was checked."""
    try:
        vendor.verify()
    except vendor.WrongFile as error:
        raise CommandError(str(error)) from error


def check_servers() -> None:
    """Errors: CommandError, one line, when a server is away, refuses us or is too old."""
    try:
        connection.ensure_connection()
        versions.check_postgres(cast(DatabaseWrapper, connection).pg_version)
        client = sync_client()
        versions.check_redis(client.info("server"))
        versions.check_memory(client.info("memory"), settings.EVENTS_QUEUE_MAX_BYTES)
        if not client.info("persistence").get("aof_enabled"):
            warn(
                "Valkey writes no append-only file: its crash loses acknowledged events. Set appendonly yes."
            )
    except (versions.TooOld, versions.Unfit, NotSupportedError) as error:
        raise CommandError(" ".join(str(error).split())) from None
    except Error as error:
        raise CommandError(
            f"PostgreSQL cannot be used (DATABASE_URL): {' '.join(str(error).split())}"
        ) from None
    except redis.RedisError as error:
        raise CommandError(f"Valkey cannot be used (REDIS_URL): {' '.join(str(error).split())}") from None


def write_credentials() -> None:
    """Keeps the secrets of the file where they belong to these data; the addresses always follow the
    settings."""
    path = state.places(settings.VAR_DIR).credentials
    known = _read()
    if (
        not all(known.get(field) for field in SECRET_FIELDS)
        or not User.objects.filter(is_superuser=True).exists()
    ):
        with transaction.atomic():
            known = make_secrets()
    addresses = {
        "url": settings.PUBLIC_URL,
        "flower_url": f"http://{_flower_host()}:{settings.FLOWER_PORT}",
        "database_url": settings.DATABASE_URL,
        "redis_url": settings.REDIS_URL,
    }
    state.write_private(
        path, json.dumps(addresses | {field: known[field] for field in SECRET_FIELDS}, indent=2) + "\n"
    )


def make_secrets() -> dict[str, Any]:
    """Makes the admin, or gives it a new password; a token; the demo project, or new keys for it."""
    password = secrets.token_urlsafe(18)
    admin, _ = User.objects.get_or_create(username=ADMIN)
    admin.is_staff = admin.is_superuser = admin.is_active = True
    admin.set_password(password)
    admin.save()
    _, token = get_token_model().objects.create(user=admin, expiry=None)
    owned = {"memberships__user": admin, "memberships__role": Role.OWNER, "deleted_at": None}
    project = Project.objects.filter(name=DEMO, **owned).first()
    if project is None:
        project, write_key = services.create_project(name=DEMO, owner=admin)
    else:
        write_key = services.create_key(project=project, kind="write", name="start", by=admin).secret
    read_key = services.create_key(project=project, kind="read", name="start", by=admin).secret
    made = (ADMIN, password, token, project.pk, write_key, read_key)
    return dict(zip(SECRET_FIELDS, made, strict=True))


def _read() -> dict[str, Any]:
    try:
        known = json.loads(state.places(settings.VAR_DIR).credentials.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _flower_host() -> str:
    host = settings.HOST
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104
        host = urlsplit(settings.PUBLIC_URL).hostname or "127.0.0.1"
    return f"[{host}]" if ":" in host else host
