"""Body encodings: gzip, deflate, br and zstd. What the bytes tell counts; Content-Encoding is asked where they cannot."""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import brotli

from events.codes import Code
from events.envelope import Refused
from events.limits import Limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOM: Final = b"\xef\xbb\xbf"
SPACE: Final = b" \t\r\n"
PLAIN: Final = ("", "identity")
ALIASES: Final = {"x-gzip": "gzip"}
# Gzip files and zstd frames may follow one another. A body of nothing but tiny ones would cost a copy of its rest for each.
MAX_MEMBERS: Final = 100
# What RFC 9659 lets a sender of the `zstd` coding ask for: 8 MB of window.
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}


class _Damaged(Exception):
    """The data does not inflate."""


# From data and room for output to the output, what follows the end, and whether there was an end.
Inflater = Callable[[bytes, int], tuple[bytes, bytes, bool]]


@dataclass(frozen=True, slots=True)
class _Coding:
    inflate: Inflater
    may_repeat: bool = False  # several, one after the other, are one body


def inflate(body: bytes, content_encoding: bytes, limits: Limits) -> bytes:
    """Takes a body as it came, returns it inflated, never more than `limits.body_bytes`. Raises Refused (400, 413, 415)."""
    if not content_encoding and body[:1] in (b"{", b"["):
        return body
    said = _said(content_encoding)
    name = _told_by_bytes(body) or (said if said in ("deflate", "br") and body else None)
    if name is None:
        return _plain(body, said)
    if len(body) > limits.compressed_bytes:
        raise too_large(limits.compressed_bytes)
    try:
        inflated = _inflated(body, CODINGS[name], limits.body_bytes)
    except _Damaged as damage:
        if _looks_like_json(body):  # neither raw deflate nor br begins with bytes of its own
            return body
        raise Refused(400, Code.BROKEN_ENCODING, f"The {name} data is damaged: {damage}.") from None
    if _told_by_bytes(inflated):
        raise Refused(400, Code.BROKEN_ENCODING, "The body is compressed twice; once is taken.")
    return inflated


def too_large(limit: int) -> Refused:
    detail = f"A request may have {limit} bytes. Do not send it again as it is: send fewer events at a time."
    return Refused(413, Code.BODY_TOO_LARGE, detail)


def _said(content_encoding: bytes) -> str:
    """The one coding that the header names. Raises Refused (415) where it names several."""
    names = [name.strip() for name in content_encoding.decode("latin-1").lower().split(",")]
    codings = [ALIASES.get(name, name) for name in names if name not in PLAIN]
    if len(codings) > 1:
        raise _unsupported(", ".join(codings))
    return codings[0] if codings else ""


def _told_by_bytes(body: bytes) -> str | None:
    if body[:2] == b"\x1f\x8b":
        return "gzip"
    if body[:4] == b"\x28\xb5\x2f\xfd":
        return "zstd"
    if len(body) > 1 and body[0] & 0x8F == 8 and (body[0] << 8 | body[1]) % 31 == 0:
        return "zlib"
    return None


def _plain(body: bytes, said: str) -> bytes:
    if not said or not body or _looks_like_json(body):
        return body
    if said in CODINGS:
        detail = f"The body is said to be {said}, but does not begin like it."
        raise Refused(400, Code.BROKEN_ENCODING, detail)
    raise _unsupported(said)


def _looks_like_json(body: bytes) -> bool:
    return body.removeprefix(BOM).lstrip(SPACE)[:1] in (b"{", b"[")


def _unsupported(said: str) -> Refused:
    detail = f"Content-Encoding {said[:100]!r} is not supported; send gzip, deflate, br, zstd or none."
    return Refused(415, Code.UNSUPPORTED_ENCODING, detail)


def _inflated(body: bytes, coding: _Coding, limit: int) -> bytes:
    """Raises _Damaged, and Refused (413) beyond `limit` bytes of output, of which at most one more is made."""
    parts, size, rest = [], 0, body
    for _ in range(MAX_MEMBERS if coding.may_repeat else 1):
        part, rest, ended = coding.inflate(rest, limit - size + 1)
        size += len(part)
        if size > limit:
            raise Refused(413, Code.BODY_TOO_LARGE, f"The body inflates to more than {limit} bytes.")
        if not ended:
            raise _Damaged("it ends too early")
        parts.append(part)
        if not rest:
            return b"".join(parts)
    raise _Damaged("something follows its end")


def _deflate(window_bits: int) -> Inflater:
    def inflate(data: bytes, room: int) -> tuple[bytes, bytes, bool]:
        inflater = zlib.decompressobj(window_bits)
        try:
            return inflater.decompress(data, room), inflater.unused_data, inflater.eof
        except zlib.error as error:
            raise _Damaged(error) from None

    return inflate


def _zstd(data: bytes, room: int) -> tuple[bytes, bytes, bool]:
    inflater = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
    try:
        return inflater.decompress(data, room), inflater.unused_data, inflater.eof
    except zstd.ZstdError as error:
        raise _Damaged(error) from None


def _brotli(data: bytes, room: int) -> tuple[bytes, bytes, bool]:
    """The library refuses what follows the end, and overshoots its limit by no more than its own buffer."""
    inflater = brotli.Decompressor()
    try:
        return inflater.process(data, output_buffer_limit=room), b"", inflater.is_finished()
    except brotli.error as error:
        raise _Damaged(error) from None


CODINGS: Final = {
    "gzip": _Coding(_deflate(zlib.MAX_WBITS | 16), may_repeat=True),
    "zlib": _Coding(_deflate(zlib.MAX_WBITS)),
    "deflate": _Coding(_deflate(-zlib.MAX_WBITS)),  # raw, as some clients send it; the rest send zlib
    "zstd": _Coding(_zstd, may_repeat=True),
    "br": _Coding(_brotli),
}
