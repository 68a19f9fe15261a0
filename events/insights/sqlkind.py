"""The kind `sql`: what the other kinds cannot say, in DuckDB's SQL, over the project's own events as a table `events`."""

from typing import Annotated, Any, Final

import msgspec
from django.conf import settings

from events.insights import client
from events.insights.client import BoxQuery
from events.insights.errors import BadQuestion, Invalid
from events.insights.kind import Ask, Kind

MAX_SQL_LENGTH: Final = 20_000
_EXAMPLE: Final = (
    "SELECT properties->>'plan' AS plan, count(*) AS events, count(DISTINCT person) AS persons"
    " FROM events WHERE name = 'signup' GROUP BY ALL ORDER BY events DESC"
)


class SqlQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """`limit`: rows beyond it are left off. Without it, too many rows are an error."""

    sql: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SQL_LENGTH)]
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


def answer(ask: Ask) -> dict[str, Any]:
    """Returns columns and rows. Errors: BadQuestion with DuckDB's words for the asker; else those of errors.py."""
    question: SqlQuestion = ask.question
    most = settings.EVENTS_QUESTION_ROWS
    if question.limit is not None and question.limit > most:
        raise BadQuestion("limit", f"Must be at most {most}.")
    found = ask.snapshot(since=None, until=None)
    query = BoxQuery(
        sql=question.sql,
        project_id=ask.project_id,
        own=[str(file.path) for file in found.files if not file.is_shared],
        shared=[str(file.path) for file in found.files if file.is_shared],
        shared_rows=sum(file.rows for file in found.files if file.is_shared),
        max_rows=question.limit or most,
        seconds=settings.EVENTS_QUESTION_SECONDS,
        cut=question.limit is not None,
    )
    try:
        result = client.run_box(query)
    except Invalid as refused:
        raise BadQuestion("sql", refused.message) from None
    return {"columns": result.columns, "rows": result.rows, "is_cut": result.is_cut}


KIND: Final = Kind(
    name="sql",
    question=SqlQuestion,
    answer=answer,
    summary="Your own SQL over the project's events",
    description=(
        "One SELECT in DuckDB's SQL over the table `events`: id, event_id, client_event_id, name, user_id, anonymous_id, person,"
        " session_id, occurred_at, received_at, stored_at (UTC), properties and context (JSON text: `properties->>'plan'`)."
        " WITH, joins of `events` with itself, windows, `range` and `unnest` are there; other tables, files, settings and"
        " most functions that do not compute are not. Stopped when it takes too long or too much memory."
    ),
    examples={
        "Sign-ups by plan": {"sql": _EXAMPLE},
        "At most ten rows": {"sql": "SELECT * FROM events", "limit": 10},
    },
    example_answer={"columns": ["plan", "events", "persons"], "rows": [["pro", 120, 97]], "is_cut": False},
)
