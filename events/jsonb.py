"""What PostgreSQL's jsonb cannot hold faithfully, and a copy that it can. Pure, on bytes: all else stays as it was sent.

jsonb refuses NUL and lone surrogates. A number beyond a double's range it holds, at a price: 187 bytes of 1e100000 are
read back as 2 MB, and readers that know only doubles get Infinity.
"""

import re

MAX_DIGITS = 308  # of a double's range, before or after the point or as its exponent

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[0-9][eE][+-]?[0-9]{3}")
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS + 1))
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


def clean(document: bytes) -> bytes:
    """Takes a JSON text, returns it as jsonb can hold it: U+FFFD for what it refuses, strings for numbers out of range."""
    if not _SUSPECT.search(document) and (len(document) <= MAX_DIGITS or not _LONG_NUMBER.search(document)):
        return document
    return _TOKEN.sub(_clean_token, document)


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


def _clean_token(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if text[:1] == b'"':
        return (
            _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[2] else escape[0], text)
            if b"\\u" in text
            else text
        )
    mantissa, _, exponent = text.lower().partition(b"e")
    whole, _, fraction = mantissa.lstrip(b"-").partition(b".")
    fits = max(len(whole), len(fraction)) <= MAX_DIGITS
    power = exponent.lstrip(b"+-").lstrip(b"0")
    # The power first: a million digits of it must not be read as an integer.
    if fits and len(power) <= 3 and len(whole) + int(power or b"0") <= MAX_DIGITS + 1:
        return text
    return b'"' + text + b'"'
