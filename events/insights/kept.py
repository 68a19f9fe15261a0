"""Results that were given lately, so that the same question is not computed twice. In this process, bounded by bytes."""

import threading
from collections import OrderedDict
from typing import Any, Final

import msgspec

MAX_BYTES: Final = 8_000_000
MAX_RESULT_BYTES: Final = 1_000_000


class Result(msgspec.Struct, frozen=True):
    columns: list[str]
    rows: list[list[Any]]


class Kept:
    """By SQL and parameters. Paths of files are among them and a file never changes: what is found is what would be computed."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._found: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Result | None:
        with self._lock:
            found = self._found.get(key)
            if found is None:
                return None
            self._found.move_to_end(key)
        return msgspec.msgpack.decode(found, type=Result)

    def put(self, key: bytes, columns: list[str], rows: list[list[Any]]) -> None:
        value = msgspec.msgpack.encode(Result(columns, rows))
        if len(value) > MAX_RESULT_BYTES:
            return
        with self._lock:
            self._bytes += len(value) - len(self._found.pop(key, b""))
            self._found[key] = value
            while self._bytes > self.max_bytes:
                self._bytes -= len(self._found.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
            self._bytes = 0
