"""What a question reads, as SQL: the events of one project and period out of its files, with properties as columns.

Files differ in which properties have columns of their own: those alike are read together, and the parts put side by side.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

from events.insights.filters import LakeDialect
from events.insights.periods import DAY, EPOCH
from events.lake.layout import COLUMNS, number_column, pointer, text_column
from events.lake.snapshot import SegmentFile, Snapshot

Form = Literal["text", "number"]
_OF_PROJECT: Final = "project_id"
_COLUMNS: Final = ", ".join(name for name in COLUMNS if name != _OF_PROJECT)
_NOTHING: Final = ", ".join(
    f"NULL::{kind} AS {name}" for name, kind in COLUMNS.items() if name != _OF_PROJECT
)


@dataclass
class Scan:
    """The events of [since_us, until_us) (None: no bound) with one of the names (None: any) that files of a snapshot hold.

    `text`, `number` and `value` are asked first and return what to write in SQL; then `sql()` is a table for FROM. The
    result is SQL over the columns of a segment, named parameters, nothing executed.
    """

    snapshot: Snapshot
    since_us: int | None = None
    until_us: int | None = None
    names: tuple[str, ...] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    _aliases: dict[tuple[Form, tuple[str, ...]], str] = field(default_factory=dict)

    @property
    def dialect(self) -> LakeDialect:
        return LakeDialect(self.value, self.text, self.number)

    def value(self, value: Any) -> str:
        """Hands a value over beside the SQL; returns its place in the SQL."""
        name = f"p{len(self.parameters) + 1}"
        self.parameters[name] = value
        return f"${name}"

    def text(self, path: tuple[str, ...]) -> str:
        """The column with a property as text; NULL where it is absent or null."""
        return self._aliases.setdefault(("text", path), f"v{len(self._aliases)}")

    def number(self, path: tuple[str, ...]) -> str:
        """The column with a property where it is a finite JSON number; else NULL."""
        return self._aliases.setdefault(("number", path), f"v{len(self._aliases)}")

    def sql(self) -> str:
        groups: dict[tuple[bool, bool, tuple[str, ...]], list[SegmentFile]] = defaultdict(list)
        for file in self.snapshot.files:
            sources = tuple(_source(file, form, path) for form, path in self._aliases)
            groups[file.is_shared, self._is_within(file), sources].append(file)
        parts = [self._part(*key, files) for key, files in groups.items()]
        return f"({' UNION ALL '.join(parts) if parts else self._nothing()})"

    def _is_within(self, file: SegmentFile) -> bool:
        """Whether the period holds all of a file's days: its times need not be read then, a third of a short question's work."""
        return (self.since_us is None or self.since_us <= _midnight_us(file.first_day)) and (
            self.until_us is None or _midnight_us(file.last_day) + DAY <= self.until_us
        )

    def _part(
        self, is_shared: bool, is_within: bool, sources: tuple[str, ...], files: list[SegmentFile]
    ) -> str:
        """Plan: the conditions stand in each part, so that row groups are skipped by their statistics."""
        columns = [_COLUMNS]
        for (form, path), alias, source in zip(self._aliases, self._aliases.values(), sources, strict=True):
            columns.append(f"{self._from_json(form, path) if source == 'json' else source} AS {alias}")
        conditions = [f"project_id = {int(self.snapshot.project_id)}"] if is_shared else []
        if self.since_us is not None and not is_within:
            conditions.append(f"occurred_at >= make_timestamptz({int(self.since_us)})")
        if self.until_us is not None and not is_within:
            conditions.append(f"occurred_at < make_timestamptz({int(self.until_us)})")
        if self.names is not None:
            conditions.append(f"name IN ({', '.join(map(self.value, self.names))})")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        paths = self.value([str(file.path) for file in files])
        return f"SELECT {', '.join(columns)} FROM read_parquet({paths}){where}"

    def _from_json(self, form: Form, path: tuple[str, ...]) -> str:
        place = self.value(pointer(*path))
        if form == "text":
            return f"json_extract_string(properties, {place})"
        return finite(f"try_cast(json_extract(properties, {place})::VARCHAR AS DOUBLE)")

    def _nothing(self) -> str:
        columns = [
            f"NULL::{'VARCHAR' if form == 'text' else 'DOUBLE'} AS {alias}"
            for (form, _), alias in self._aliases.items()
        ]
        return f"SELECT {', '.join([_NOTHING, *columns])} WHERE false"


def _midnight_us(day: date) -> int:
    return (day - EPOCH.date()).days * DAY


def finite(number: str) -> str:
    return f"(CASE WHEN isfinite({number}) THEN {number} END)"


def _source(file: SegmentFile, form: Form, path: tuple[str, ...]) -> str:
    """Where a file has a property: its column, nowhere, or only in the JSON."""
    kind = "VARCHAR" if form == "text" else "DOUBLE"
    listed = file.columns.get(path[0])
    if listed is None:
        return f"NULL::{kind}" if file.is_complete else "json"
    if len(path) > 1:
        return "json"
    if not listed.get("s"):
        return "json"
    if form == "text":
        return text_column(path[0])
    return (
        number_column(path[0]) if listed.get("n") else f"NULL::{kind}"
    )  # every value is a column's: none is a number
