"""What settings cannot say about themselves one by one; run by `manage.py check` and before migrations."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def check_database_is_postgresql(**_: Any) -> list[CheckMessage]:
    """Partitions, JSONB and the bulk insert need it: nothing works half on another database."""
    engine = settings.DATABASES["default"]["ENGINE"]
    if engine == "django.db.backends.postgresql":
        return []
    return [Error(f"DATABASE_URL must name a PostgreSQL server, not {engine}.", id="eventsite.E001")]
