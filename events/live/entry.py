"""An entry of a project's live stream, and an event as it is shown there."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import msgspec

from events.envelope import EMPTY, Envelope
from events.live import names


class LiveEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event on its way to readers. `cut`: of which fields members are missing, for they were too large."""

    id: str
    name: str
    occurred_at: str
    received_at: str
    properties: msgspec.Raw = EMPTY
    context: msgspec.Raw = EMPTY
    client_event_id: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    session_id: str | None = None
    cut: tuple[str, ...] = ()

    @classmethod
    def of(cls, envelope: Envelope) -> "LiveEvent":
        properties, context = _short(bytes(envelope.properties)), _short(bytes(envelope.context))
        cuts = {"properties": properties is None, "context": context is None}
        return cls(
            id=envelope.event_id,
            name=envelope.name,
            occurred_at=envelope.occurred_at,
            received_at=envelope.received_at,
            properties=msgspec.Raw(properties or _cut(bytes(envelope.properties))),
            context=msgspec.Raw(context or _cut(bytes(envelope.context))),
            client_event_id=envelope.client_event_id,
            user_id=envelope.user_id,
            anonymous_id=envelope.anonymous_id,
            session_id=envelope.session_id,
            cut=tuple(name for name, is_cut in cuts.items() if is_cut),
        )


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
_encode = msgspec.json.Encoder().encode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_event = msgspec.json.Decoder(LiveEvent).decode
_counts = msgspec.json.Decoder(dict[str, int]).decode


def _short(document: bytes) -> bytes | None:
    """A JSON object on one line, as a server-sent event needs it; None where it is too large."""
    if len(document) > names.MAX_JSON_BYTES:
        return None
    if b"\n" in document or b"\r" in document:  # layout: in a string they are escaped
        return document.translate(_ONE_LINE)
    return document


def _cut(document: bytes) -> bytes:
    """Those members of a JSON object that fit, the earlier ones first."""
    left, kept = names.MAX_JSON_BYTES, {}
    for name, value in _members(document).items():
        size = len(name) * 4 + len(bytes(value)) + 4
        if size <= left:
            left -= size
            kept[name] = value
    return _encode(kept).translate(_ONE_LINE)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a project's stream: all up to event `number` of this epoch was seen. As text it is an id of the stream."""

    epoch: int
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"

    @classmethod
    def read(cls, text: str) -> "Cursor | None":
        """Returns None for a text that is no cursor."""
        epoch, _, number = text.partition("-")
        if epoch.isascii() and epoch.isdigit() and number.isascii() and number.isdigit() and len(text) < 40:
            return cls(int(epoch), int(number))
        return None


@dataclass(frozen=True)
class Entry:
    """What one batch stored of one project: `count` events, the last of which is at `end`.

    Before them come `skipped` ones that could not be published. `named` splits the count by name as far as it goes;
    `text` holds those events that are carried.
    """

    end: Cursor
    count: int
    skipped: int
    published_ms: int  # by Valkey's clock
    named: dict[str, int] = field(hash=False)
    text: bytes

    @classmethod
    def of(cls, entry_id: bytes, fields: dict[bytes, bytes]) -> "Entry":
        """Raises ValueError or KeyError for what we did not write."""
        end = Cursor.read(entry_id.decode())
        if end is None:
            raise ValueError("not an id of a stream")
        named = _counts(fields[b"c"])
        return cls(end, int(fields[b"n"]), int(fields[b"k"]), int(fields[b"t"]), named, fields[b"e"])

    @property
    def first(self) -> int:
        """The number of its first event."""
        return self.end.number - self.count + 1

    @property
    def unnamed(self) -> int:
        return self.count - sum(self.named.values())

    @property
    def size(self) -> int:
        return len(self.text)

    @cached_property
    def texts(self) -> list[msgspec.Raw]:
        return _split(self.text)

    @cached_property
    def events(self) -> list[LiveEvent]:
        return [_event(text) for text in self.texts]


def read_entries(answer: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    """Takes entries from Valkey. One that cannot be read (of another version) is left out: its number is missing then."""
    entries = []
    for entry_id, fields in answer:
        with suppress(ValueError, KeyError, msgspec.MsgspecError):
            entries.append(Entry.of(entry_id, fields))
    return entries
