"""What a key is made of: `es_w_` or `es_r_`, 32 random bytes in base64url, six characters of checksum. Pure.

The checksum lets every process refuse garbage and typing errors without asking anybody; it protects nothing.
"""

import base64
import hashlib
import re
import secrets
import zlib
from enum import StrEnum

SECRET_BYTES = 32
SHOWN_CHARACTERS = (
    10  # "es_w_" and five more: 30 of 256 bits, enough to tell keys apart and useless to guess the rest
)

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM_CHARACTERS = 6  # 62**6 > 2**32
_SHAPE = re.compile(r"es_([wr])_[A-Za-z0-9_-]{43}[A-Za-z0-9]{6}")


class KeyKind(StrEnum):
    WRITE = "write"
    READ = "read"


_KIND_BY_LETTER = {"w": KeyKind.WRITE, "r": KeyKind.READ}


def generate(kind: KeyKind) -> str:
    """Returns a new secret of 256 random bits. It is shown once; only its digest is kept."""
    body = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    unchecked = f"es_{kind.value[0]}_{body}"
    return unchecked + _checksum(unchecked)


def kind_of(secret: str) -> KeyKind | None:
    """Returns the kind that a well-formed secret claims, None for anything else. It may be unknown still."""
    shape = _SHAPE.fullmatch(secret)
    if shape is None or _checksum(secret[:-_CHECKSUM_CHARACTERS]) != secret[-_CHECKSUM_CHARACTERS:]:
        return None
    return _KIND_BY_LETTER[shape[1]]


def digest(secret: str) -> str:
    """Returns what is stored and looked up: SHA-256 in hex.

    A fast hash is enough for 256 random bits. Looking up by it leaks no timing that helps: whoever guesses
    cannot choose the digest's leading bytes without knowing a secret that has them.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def shown(secret: str) -> str:
    """Returns the beginning of a secret that lists and pages may show."""
    return secret[:SHOWN_CHARACTERS]


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    characters = []
    for _ in range(_CHECKSUM_CHARACTERS):
        number, remainder = divmod(number, 62)
        characters.append(_BASE62[remainder])
    return "".join(reversed(characters))
