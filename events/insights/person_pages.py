"""Pages of persons, for answers that say not only how many but who. By the person's digest: no order that means anything,
but the same at every time, so that a page begins where the last one ended.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from events.insights.errors import BadQuestion
from events.insights.kind import Ask
from events.insights.scan import Scan
from events.persons import PERSON_SQL

_CURSOR: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


class PersonsPage(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """Which page of them."""

    after: Annotated[str, Meta(max_length=100, description="`next` of the page before.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


def answer(
    ask: Ask,
    scan: Scan,
    asked: PersonsPage,
    *,
    ctes: str,
    persons: str,
    columns: list[str],
    shown: Callable[[list[Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Returns `persons` and `next` (None: it is the last page).

    Takes CTEs, `persons`: SQL of a table with a digest `p` that may read them, its `columns`, and what is shown of their values.
    """
    sql = f"WITH {ctes}, {_select(scan, asked, persons, columns)}"
    rows = ask.run(sql, scan.parameters).rows
    page = rows[: asked.limit]
    return {
        "persons": [{"person": person} | shown(values) for _, person, *values in page],
        "next": f"{page[-1][0]:016x}" if len(rows) > asked.limit else None,
    }


def _select(scan: Scan, asked: PersonsPage, persons: str, columns: list[str]) -> str:
    """SQL of a page: digest, person and `columns` of each of `persons`, which is SQL for FROM (and WHERE) with a digest `p`.

    Plan: the texts are read of the page's persons only. Raises BadQuestion for what no answer of ours has held as `next`.
    """
    after = ""
    if asked.after is not None:
        if not _CURSOR.fullmatch(asked.after):
            raise BadQuestion("persons.after", "Not the `next` of a page.")
        after = f"WHERE p > {int(asked.after, 16)}::UBIGINT"
    shown = ", ".join(["page.p", "who.person", *(f"page.{column}" for column in columns)])
    return (
        f"page AS MATERIALIZED (SELECT * FROM ({persons}) {after} ORDER BY p LIMIT {asked.limit + 1}),"
        f" who AS (SELECT person_h AS p, any_value({PERSON_SQL}) AS person FROM {scan.sql()}"
        f" WHERE person_h IN (SELECT p FROM page) GROUP BY 1)"
        f" SELECT {shown} FROM page JOIN who USING (p) ORDER BY page.p"
    )
