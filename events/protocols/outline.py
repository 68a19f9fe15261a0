"""The outline of a body that no JSON parser takes: where its parts begin and end, so that one bad event costs only itself."""

import re
from typing import Final

import msgspec

from events.codes import Code
from events.envelope import Refused

SPACE: Final = b" \t\r\n"
UTF_16: Final = "This looks like UTF-16 or UTF-32; send JSON in UTF-8."
MAX_TOKENS: Final = 1_000_000  # some tenths of a second of looking
CLOSES: Final = {b"[": b"]", b"{": b"}"}
TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},"]', re.DOTALL)
MEMBER: Final = re.compile(rb'"([^"\\]*)"\s*:\s*(.*)', re.DOTALL)
_SEPARATOR: Final = re.compile(rb"[ \t\r\n,]*")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def items(body: bytes, *, most: int) -> list[bytes]:
    """Takes an array, returns the bytes of its elements: all, or at least the first `most`. Raises Refused (400).

    What is usually wrong, half a surrogate pair or NaN, is covered by something as long that is JSON: then the parser,
    fifty times as fast as looking, tells where the elements are.
    """
    if body[1:2] == b"\0":
        raise Refused(400, Code.INVALID_UTF8, UTF_16)
    covered = _SURROGATE.sub(rb"\\ufffd", body).replace(b"NaN", b"100").replace(b"Infinity", b"10000000")
    if covered == body or body.count(b",") > MAX_TOKENS:
        return parts(body, most=most)
    try:
        lengths = [len(memoryview(item)) for item in _array(covered)]
    except (ValueError, RecursionError):
        return parts(body, most=most)
    found, start = [], 1
    for length in lengths:
        start = _SEPARATOR.match(body, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        found.append(body[start : start + length])
        start += length
    return found


def members(body: bytes) -> dict[str, bytes]:
    """Takes an object, returns the bytes of its values. Raises Refused (400) like `parts`."""
    return dict(_pairs(body))


def member_at(body: bytes, offset: int) -> str | None:
    """Returns the key of an object's member that the byte at `offset` belongs to. Raises Refused (400) like `parts`."""
    start = 0
    for part in parts(body):
        start = body.index(part, start)
        if start <= offset < start + len(part):
            match = MEMBER.match(part)
            return match[1].decode(errors="replace") if match else None
    return None


def has_twin(body: bytes, name: str) -> bool:
    """Says whether an object has this key more than once. Raises Refused (400) like `parts`."""
    return [found for found, _ in _pairs(body)].count(name) > 1


def parts(body: bytes, *, most: int = MAX_TOKENS) -> list[bytes]:
    """Takes an array or object, returns what stands between its own commas: all, or at least the first `most`.

    Raises Refused (400) if its brackets do not close.
    """
    found: list[bytes] = []
    closing: list[bytes] = []
    start = 1
    for count, token in enumerate(TOKEN.finditer(body)):
        kind = token[0]
        if kind in CLOSES:
            closing.append(CLOSES[kind])
        elif kind == b"," and len(closing) == 1:
            found.append(body[start : token.start()].strip(SPACE))
            start = token.end()
            if len(found) >= most:
                return found
        elif kind == b'"' or kind in b"]}":
            if kind == b'"' or not closing or kind != closing.pop():
                raise not_json("A string or bracket is not closed", body, token.start())
            if not closing:
                last = body[start : token.start()].strip(SPACE)
                if token.end() != len(body):
                    raise not_json("Extra data", body, token.end())
                return found + [last] * bool(last or found)
        if count >= MAX_TOKENS:
            raise not_json("It is too large to look for the bad event, which lies", body, token.start())
    raise not_json("The body ends too early", body, len(body))


def not_json(message: str, body: bytes, offset: int) -> Refused:
    line, column = body.count(b"\n", 0, offset) + 1, offset - body.rfind(b"\n", 0, offset)
    detail = f"The body is not JSON: {message} at line {line}, column {column}."
    return Refused(400, Code.INVALID_JSON, detail)


def _pairs(body: bytes) -> list[tuple[str, bytes]]:
    found = (MEMBER.match(part) for part in parts(body))
    return [(match[1].decode(errors="replace"), match[2]) for match in found if match]
