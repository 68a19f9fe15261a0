"""What a kind of question is, and what it gets to answer one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec

from events.lake.snapshot import Snapshot


class Rows(Protocol):
    """What a run returns: the process' Result, or an earlier one that was kept."""

    @property
    def columns(self) -> list[str]: ...
    @property
    def rows(self) -> list[list[Any]]: ...


class Ask(Protocol):
    """One question being answered. What goes through it counts in the answer's `as_of`, `rows_scanned`, `cached`."""

    @property
    def project_id(self) -> int: ...
    @property
    def time_zone(self) -> str:
        """The project's: the default of its questions."""

    @property
    def question(self) -> Any:
        """Of the kind's type, already checked against it."""

    @property
    def now(self) -> datetime:
        """UTC. The moment that relative periods end at."""

    def snapshot(
        self, *, since: datetime | None, until: datetime | None, received_before: datetime | None = None
    ) -> Snapshot:
        """The live files of [since, until): what the SQL of this question reads."""

    def run(self, sql: str, parameters: dict[str, Any], *, max_rows: int | None = None) -> Rows:
        """Runs SQL over the snapshot's files. The same SQL with the same parameters is answered from what was kept.

        Raises what errors.py lists. Parameters are named (`$name`); paths of files are among them.
        """


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of question: `answer` takes an Ask with a `question` of the given type and returns the answer's own fields.

    It raises BadQuestion for what the type alone cannot refuse. `summary` and `examples` (title -> question) are for the
    OpenAPI schema, `example_answer` too. `path` fields of errors are those of the JSON that was sent.
    """

    name: str
    question: type[msgspec.Struct]
    answer: Callable[[Ask], dict[str, Any]]
    summary: str
    description: str = ""
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)
    example_answer: dict[str, Any] = field(default_factory=dict)
