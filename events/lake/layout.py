"""What a segment looks like: where it lies, its columns, their names."""

import hashlib
from datetime import date
from pathlib import Path
from typing import Final

from django.conf import settings

ROW_GROUP_ROWS: Final = 30_720  # a trend of one name reads half of what larger groups make it read
ROW_GROUP_BYTES: Final = 32 << 20  # in memory, where a writer holds it; whichever comes first
SORTED_BY: Final = "project_id, name, occurred_at, id"
MAX_PROPERTY_COLUMNS: Final = 150  # 200 columns of 100,000 rows took 780 MB to write

# In every segment, in this order. `id` is the row's in PostgreSQL; texts of properties and context are those of its jsonb.
COLUMNS: Final[dict[str, str]] = {
    "id": "BIGINT",
    "project_id": "BIGINT",
    "event_id": "UUID",
    "client_event_id": "VARCHAR",
    "name": "VARCHAR",
    "user_id": "VARCHAR",
    "anonymous_id": "VARCHAR",
    "person_h": "UBIGINT",
    "session_id": "VARCHAR",
    "occurred_at": "TIMESTAMPTZ",
    "received_at": "TIMESTAMPTZ",
    "stored_at": "TIMESTAMPTZ",
    "properties": "VARCHAR",
    "context": "VARCHAR",
    "raw": "BLOB",
}


def lake_dir() -> Path:
    return Path(settings.EVENTS_LAKE_DIR)


def fresh_path(token: str) -> str:
    """Of a shared segment, below the lake's directory, as all of these."""
    return f"fresh/{token}.parquet"


def day_path(project_id: int, day: date, token: str) -> str:
    return f"lake/project={project_id}/day={day}/{token}.parquet"


def month_path(project_id: int, month: date, token: str) -> str:
    """Of a project's closed month in which little happened."""
    return f"lake/project={project_id}/month={month:%Y-%m}/{token}.parquet"


def manifest_path(project_id: int) -> str:
    return f"lake/project={project_id}/manifest.json"


def retired_path(path: str) -> str:
    return f"retired/{Path(path).name}"


def text_column(key: str) -> str:
    """The column that holds a top-level property as text. By digest, for column names know no case and property names do."""
    return "s_" + _token(key)


def number_column(key: str) -> str:
    """The column that holds a top-level property where it is a JSON number."""
    return "n_" + _token(key)


def pointer(*keys: str) -> str:
    """The JSON pointer of a property, safe for any name."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def _token(key: str) -> str:
    return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:16]
