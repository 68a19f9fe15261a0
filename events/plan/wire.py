"""The names of the plans in Valkey, and the form of a project's there."""

import logging
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from events.plan.check import Check

log = logging.getLogger(__name__)

# PostgreSQL decides; mirror.py keeps these equal to it.
REVISIONS: Final = "es:plans"  # hash: project -> revision, for those whose plan asks for anything
DOCUMENTS: Final = "es:plans:documents"  # hash: project -> its plan, as a Document
VERSION: Final = "es:plans:version"  # moves with every change of these
# What did not follow its plan since it was last copied, and what is being copied (tally.py).
COUNTS: Final = "es:plans:counts"  # hash: JSON [project, name, field] -> events
EXAMPLES: Final = "es:plans:examples"  # hash: the same -> the last of them
TAKEN_COUNTS: Final = "es:plans:counts:taken"
TAKEN_EXAMPLES: Final = "es:plans:examples:taken"


class Entry(msgspec.Struct, frozen=True):
    """One name's version in force: mode, version and schema."""

    m: str
    v: int
    s: msgspec.Raw


class Document(msgspec.Struct, frozen=True):
    """A project's plan by event name. Modes that ask for nothing are left out."""

    p: dict[str, Entry]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Document).decode


def checks(document: bytes) -> list[Check]:
    """Takes a project's plan as it lies in Valkey. One that cannot be read lets events pass; the log says so."""
    try:
        entries = decode(document).p.items()
    except msgspec.MsgspecError:
        log.exception("a tracking plan in Valkey cannot be read")
        return []
    return [Check(name, entry.m, entry.v, entry.s) for name, entry in entries]


@cache
def script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text()
