"""Inflating is bounded: in memory, in output and in time, whatever a body claims to be."""

import contextlib
import gzip
import os
import time
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest

from events.encodings import inflate, zstd
from events.envelope import Refused
from events.limits import Limits
from events.protocols import native
from events.tests.input_cases import deflate_raw

LIMIT = 1_000_000
PACK = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "deflate": deflate_raw,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": zstd.compress,
}
HEADER = {"zlib": b"deflate"}


@pytest.fixture
def limits(settings: object) -> Limits:
    settings.EVENTS_MAX_BODY_BYTES = LIMIT  # type: ignore[attr-defined]
    return Limits.from_settings()


def refusal(body: bytes, encoding: bytes, limits: Limits) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        inflate(body, encoding, limits)
    return refused.value.status, refused.value.code


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_what_fits_comes_out_as_it_went_in(name: str, size: int, limits: Limits) -> None:
    data = b"{" + os.urandom(1_000) * (size // 1_000 + 1)
    assert inflate(PACK[name](data[:size]), HEADER.get(name, name.encode()), limits) == data[:size]


@pytest.mark.parametrize("name", PACK)
def test_one_byte_too_many_is_413(name: str, limits: Limits) -> None:
    assert refusal(PACK[name](b"1" * (LIMIT + 1)), HEADER.get(name, name.encode()), limits) == (
        413,
        "body_too_large",
    )


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_takes_no_more_memory_than_the_limit_allows(name: str, limits: Limits) -> None:
    bomb = PACK[name](b"0" * 100_000_000)
    tracemalloc.start()
    assert refusal(bomb, HEADER.get(name, name.encode()), limits)[0] == 413
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LIMIT


def test_a_zstd_window_larger_than_browsers_may_send_is_refused(limits: Limits) -> None:
    parameters = {zstd.CompressionParameter.window_log: 25, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=parameters)
    body = packer.compress(b"0" * 100_000) + packer.flush()
    assert refusal(body, b"zstd", limits) == (400, "broken_encoding")


@pytest.mark.parametrize("member", [gzip.compress(b""), zstd.compress(b"")])
def test_many_tiny_members_are_given_up_soon(member: bytes, limits: Limits) -> None:
    started = time.perf_counter()
    assert refusal(member * (4_000_000 // len(member)), b"", limits) == (400, "broken_encoding")
    assert time.perf_counter() - started < 1


def test_a_br_body_may_begin_like_json(limits: Limits) -> None:
    """Its first byte is `[` for what has more than 64 KB: the header says what it is, the data proves it."""
    data = os.urandom(30_000).hex().encode() * 2
    packed = brotli.compress(data)
    assert packed[:1] == b"["
    assert inflate(packed, b"br", limits) == data


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"[[" + b"1," * 9_000_000 + b"1]",
        lambda: b'{"events":[' + b"1," * 9_000_000,
        lambda: b'{"events":[' + b"[]," * 5_000_000 + b'"\\ud800"]}',
        lambda: b"{" + b'"events":[],' * 1_500_000 + b'"a":1}',
        lambda: b'{"a":1}\n' + b"\n \n" * 6_000_000 + b"{}",
        lambda: b'["\\ud800",NaN,' + b"[1]," * 4_000_000 + b"tru]",
        lambda: b'"' * 20_000_000,
        lambda: b"[" * 20_000_000,
        lambda: b"\xff" * 20_000_000,
        lambda: b"data=" + b"%2" * 9_000_000,
    ],
    ids=range(10),
)
def test_twenty_megabytes_that_are_no_request_are_found_out_soon(make: Callable[[], bytes]) -> None:
    body = make()
    started = time.process_time()
    with contextlib.suppress(Refused):
        assert len(native.split(body, max_events=5_000).items) > 5_000
    assert time.process_time() - started < 2  # a fifth of it on an idle machine


def test_elements_too_many_are_not_kept() -> None:
    body = b"[" + b"1," * 9_000_000 + b"1]"
    tracemalloc.start()
    assert len(native.split(body, max_events=5_000).items) == 5_001
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(body)


def test_a_full_batch_with_what_no_parser_takes_is_told_apart_soon() -> None:
    event = b'{"name":"a","properties":{"a":"%s","b":[1,2,3,4,5,6,7,8],"c":{"d":"\\ud800","e":NaN}}}' % (
        b"x" * 3_800
    )
    body = b"[" + b" ,\n".join([event] * 4_999) + b"]"
    started = time.process_time()
    assert native.split(body, max_events=5_000).items == [event] * 4_999
    assert time.process_time() - started < 1
