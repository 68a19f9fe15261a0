"""What a freshly sealed file tells of names and properties: every event is counted, properties are taken from a sample."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from events.catalogue import sketch

if TYPE_CHECKING:  # whoever only reads the catalogue is spared 30 MB
    import duckdb

SAMPLE_OF_NAME: Final = 50  # events of a seal
MAX_SEEN_OF_NAME: Final = 400  # properties; those beyond are only counted
MAX_SEEN: Final = 10_000
MAX_KEY: Final = 200  # characters; a longer name of a property is only counted
MAX_VALUE: Final = 100  # characters of a value's text

_COUNTS: Final = """
SELECT project_id, name, epoch_us(occurred_at) // 86400000000 AS day, count(*), min(epoch_us(occurred_at)),
    max(epoch_us(occurred_at)), min(epoch_us(received_at)), max(epoch_us(received_at))
FROM read_parquet(?) GROUP BY ALL
"""
# Plan: row groups without these names are skipped.
_OF_NAMES: Final = """name IN (SELECT unnest($names))
    AND (project_id, name) IN (SELECT (unnest($projects), unnest($names)))"""
# Plan: the ids of the sample out of narrow columns, then the texts of those rows.
_SAMPLE: Final = f"""
WITH chosen AS MATERIALIZED (
    SELECT id FROM read_parquet($file) WHERE {_OF_NAMES}
    QUALIFY row_number() OVER (PARTITION BY project_id, name ORDER BY hash(id)) <= $of_name
)
SELECT project_id, name, epoch_us(occurred_at), epoch_us(received_at), properties
FROM read_parquet($file) WHERE id IN (SELECT id FROM chosen)
"""
# Where the sample is all of them, as in most seals of few rows: two thirds of the time, or less.
_ALL: Final = f"""
SELECT project_id, name, epoch_us(occurred_at), epoch_us(received_at), properties
FROM read_parquet($file) WHERE {_OF_NAMES}
"""
_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TYPES: Final = {b'"': "string", b"{": "object", b"[": "array", b"t": "boolean", b"f": "boolean"}


@dataclass(slots=True)
class Span:
    """From when to when, in µs; how many."""

    count: int = 0
    first: int = 2**62
    last: int = 0


@dataclass(slots=True)
class SeenProperty:
    """Of the sampled events that have it, and not null. Spans of types are by receipt."""

    occurred: Span = field(default_factory=Span)
    types: dict[str, Span] = field(default_factory=dict)
    values: Counter[str] = field(default_factory=Counter)  # texts, cut
    hashed: set[bytes] = field(default_factory=set)  # of the whole texts
    is_cut: bool = False
    example: str = ""


@dataclass(slots=True)
class SeenName:
    """`more`: names of properties that found no place, `more_events` how often they occurred."""

    occurred: Span = field(default_factory=Span)
    received: Span = field(default_factory=Span)
    days: dict[int, int] = field(default_factory=dict)  # since 1970
    sampled: int = 0
    properties: dict[str, SeenProperty] = field(default_factory=dict)
    more: set[bytes] = field(default_factory=set)
    more_events: int = 0


Seen = dict[tuple[int, str], SeenName]


def counted(reader: "duckdb.DuckDBPyConnection", file: Path) -> Seen:
    """Takes a shared segment's file, returns how much of what it holds, and when. Raises duckdb.Error."""
    seen: Seen = {}
    for project_id, name, day, count, *times in reader.execute(_COUNTS, [str(file)]).fetchall():
        found = seen.setdefault((project_id, name), SeenName())
        found.days[day] = count
        for span, (first, last) in ((found.occurred, times[:2]), (found.received, times[2:])):
            span.count += count
            span.first, span.last = min(span.first, first), max(span.last, last)
    return seen


def look(reader: "duckdb.DuckDBPyConnection", file: Path, seen: Seen) -> None:
    """Adds to these names what a sample of their events says of properties. Raises duckdb.Error."""
    if not seen:
        return
    query = _ALL
    wanted: dict[str, Any] = {
        "file": str(file), "projects": [key[0] for key in seen], "names": [key[1] for key in seen],
    }  # fmt: skip
    if any(name.occurred.count > SAMPLE_OF_NAME for name in seen.values()):
        query, wanted["of_name"] = _SAMPLE, SAMPLE_OF_NAME
    _read(seen, reader.execute(query, wanted).fetchall())


def _read(seen: Seen, sample: Iterable[tuple[Any, ...]]) -> None:
    places = MAX_SEEN
    found: dict[tuple[int, str, str], list[tuple[bytes, int, int]]] = {}
    for project_id, name, occurred, received, text in sample:
        try:
            properties = _DECODER.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            continue  # no object
        of_name = seen[project_id, name]
        of_name.sampled += 1
        for key, raw in properties.items():
            value = bytes(raw)
            if value == b"null":
                continue
            place = project_id, name, key
            if (values := found.get(place)) is None:
                if len(key) > MAX_KEY or len(of_name.properties) >= MAX_SEEN_OF_NAME or not places:
                    of_name.more.add(sketch.digest(key.encode()))
                    of_name.more_events += 1
                    continue
                places -= 1
                of_name.properties[key] = SeenProperty()
                values = found[place] = []
            values.append((value, occurred, received))
    for (project_id, name, key), values in found.items():
        _add(seen[project_id, name].properties[key], values)


def _add(found: SeenProperty, values: list[tuple[bytes, int, int]]) -> None:
    """Each different value is looked at once: most of the work of learning is here."""
    found.occurred = _span([occurred for _, occurred, _ in values])
    received: dict[str, list[int]] = {}
    for raw, _, at in values:
        received.setdefault(_TYPES.get(raw[:1], "number"), []).append(at)
    found.types = {kind: _span(moments) for kind, moments in received.items()}
    for raw, count in Counter(raw for raw, _, _ in values).items():
        text = _text(_TYPES.get(raw[:1], "number"), raw)
        found.hashed.add(sketch.digest(text.encode()))
        found.is_cut = found.is_cut or len(text) > MAX_VALUE
        found.example = text[:MAX_VALUE]
        found.values[found.example] += count


def _span(moments: list[int]) -> Span:
    return Span(len(moments), min(moments), max(moments))


def _text(kind: str, raw: bytes) -> str:
    """As the language defines a property's text."""
    if kind == "string":
        return str(msgspec.json.decode(raw))
    text = raw.decode()
    if kind == "number" and "." in text:
        text = text.rstrip("0")
        return text + "0" if text.endswith(".") else text
    return text
