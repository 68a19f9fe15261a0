"""What PostgreSQL's jsonb cannot hold faithfully, and a copy that it can. Pure, on bytes: all else stays as it was sent.

jsonb refuses NUL and lone surrogates. A number beyond a double's range it holds, at a price: 187 bytes of 1e100000 are
read back as 2 MB, and readers that know only doubles get Infinity. Of a key that stands twice it keeps the last.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

MAX_DIGITS = 309  # a double's, before the point
MAX_PLACES = 400  # behind it: the smallest double has 324 zeros and then its own digits

# A pass of 0.1 µs leaves an outline in which fixed words can be looked for: a fifth of what an expression costs.
_AS_ZERO = bytes.maketrans(b"0123456789E", b"0000000000e")
_LAYOUT = b" \t\r\n+-"
_EXPONENT = b"0e000"
_LONG_NUMBER = b"0" * 200  # with an exponent of two digits it may be out of range
_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(_STRING + rb"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.DOTALL)
_STRINGS = re.compile(_STRING, re.DOTALL)
_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a whole pair
    rb"|(\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # NUL, or half a pair
    rb"|\\.",
    re.DOTALL,
)
_BRACKETS_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_tree = msgspec.json.Decoder().decode


def outline(document: bytes) -> bytes:
    """Takes a JSON text, returns it without layout and signs, each digit a 0: for `clean` and `twin_key`."""
    return document.translate(_AS_ZERO, _LAYOUT)


def clean(document: bytes, outlined: bytes | None = None) -> bytes:
    """Takes a JSON text (and its outline), returns it as jsonb can hold it: U+FFFD for what it refuses, text for numbers
    out of range.
    """
    if outlined is None:
        outlined = outline(document)
    # `find` takes half the time of `in`, and this is done for every event.
    if (
        outlined.find(_EXPONENT) >= 0
        or (len(document) > len(_LONG_NUMBER) and outlined.find(_LONG_NUMBER) >= 0)
        or (document.find(b"\\") >= 0 and _UNSTORABLE.search(document))
    ):
        return _TOKEN.sub(_clean_token, document)
    return document


def twin_key(document: bytes, outlined: bytes) -> str | None:
    """Takes a JSON text that was read before, and its outline; returns a key that stands twice in one object, or None."""
    written = outlined.count(b'":')  # and a few too many, where a text holds these
    tree = _tree(document)
    kept = len(tree)
    for value in tree.values():  # most events are flat
        if type(value) is dict:
            kept += len(value)
    if kept == written or _keys(tree) == written:
        return None
    return _first_twin(document)


def is_deeper_than(document: bytes, levels: int) -> bool:
    """Says whether a JSON text nests deeper than `levels`; its own outer bracket is the first level."""
    if document.count(b"{") + document.count(b"[") <= levels:
        return False
    brackets = _STRINGS.sub(b"", document).translate(_BRACKETS_AS_SQUARE, _NOT_BRACKETS)
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")  # one level, the innermost, of every branch
        if not brackets:
            return False
    return True


def _keys(value: Any) -> int:
    """How many keys a document has, at every depth."""
    kind = type(value)
    if kind is dict:
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if kind is list else 0


def _first_twin(document: bytes) -> str | None:
    twins: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twins.append(_repeated(names))

    json.loads(document, object_pairs_hook=note)
    return twins[0] if twins else None


def _repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _clean_token(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if text[:1] != b'"':
        return text if _is_in_range(text) else b'"' + text + b'"'
    return (
        _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[2] else escape[0], text) if b"\\u" in text else text
    )


def _is_in_range(number: bytes) -> bool:
    mantissa, _, exponent = number.lower().partition(b"e")
    whole, _, fraction = mantissa.lstrip(b"-").partition(b".")
    size = exponent.lstrip(b"+-").lstrip(b"0")
    # The sizes first: a million digits must not be read as a number.
    if len(whole) > MAX_DIGITS or len(fraction) > MAX_PLACES or len(size) > 3:
        return False
    power = int(size or b"0")
    if exponent[:1] == b"-" and len(fraction) + power > MAX_PLACES:
        return False
    if exponent[:1] != b"-" and len(whole) + power > MAX_DIGITS:
        return False
    value = float(number)
    return not math.isinf(value) and (value != 0 or not mantissa.strip(b"-0."))
