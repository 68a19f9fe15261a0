# ruff: noqa: E501  tables, a row a line
"""Every kind of input, what is answered and what is stored: the cases of test_input.py, and the tables of docs/input.md.

`python -m events.tests.input_cases` prints that page anew; a test compares it.
"""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import brotli

from events.encodings import zstd

E: dict[str, Any] = {"name": "a"}
EVENT = b'{"name":"a"}'
THREE = b'[{"name":"a"},{"name":"a"},{"name":"a"}]'
LINES = EVENT + b"\n" + EVENT + b"\n" + EVENT


@dataclass(frozen=True)
class Case:
    """One row. `bodies` are ways to send the same kind; `rows` says of how many queued events, or what is in each.

    `is_event`: the bodies are events, sent alone and between two good neighbours, which are stored whatever becomes of it.
    """

    sent: str
    bodies: tuple[Any, ...]
    stored: str
    rows: int | list[dict[str, Any]] = 0
    status: int = 202
    code: str = ""
    field: str | None = None
    warning: str = ""
    errors: tuple[tuple[int, str, str | None], ...] = ()
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    query: str = ""
    is_event: bool = False

    @property
    def answered(self) -> str:
        if self.is_event and self.code:
            alone = f"; alone: {self.status}" if self.status != 400 else ""
            return f"in `errors`: `{self.code}`{alone}"
        if self.warning:
            return f"{self.status}, warning `{self.warning}`"
        codes = ", ".join(f"`{code}`" for code in dict.fromkeys(code for _, code, _ in self.errors if code))
        return (
            f"{self.status}"
            + (f" `{self.code}`" if self.code else "")
            + (f", in `errors`: {codes}" * bool(codes))
        )


def body(sent: str, *bodies: Any, stored: str = "nothing", **options: Any) -> Case:
    return Case(sent, bodies, stored, **({"status": 400} if "code" in options else {"rows": 1}) | options)


def event(sent: str, *bodies: Any, stored: str = "not this one", **options: Any) -> Case:
    refused = {"status": 400} if "code" in options else {}
    return Case(sent, bodies, stored, is_event=True, **refused | options)


def prop(text: bytes) -> bytes:
    return b'{"name":"a","properties":{"v":' + text + b"}}"


def value(kept: Any) -> list[dict[str, Any]]:
    return [{"properties": {"v": kept}}]


def deflate_raw(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def flipped(data: bytes) -> bytes:
    return data[:-6] + bytes([data[-6] ^ 0xFF]) + data[-5:]


def encoded_as(name: str) -> dict[str, str]:
    return {"Content_Encoding": name}


LONG = b"[" + b",".join(b'{"name":"event number %d"}' % i for i in range(50)) + b"]"
ZEROS = b"0" * 30_000_000
SMALL_MEMBERS = gzip.compress(b"") * 5_000

# fmt: off
FORMS = [
    body("`{\"name\": \"a\"}`", E, stored="one event"),
    body("`[{...}, {...}, {...}]`", THREE, [E, E, E], stored="each valid one", rows=3),
    body(
        "`{\"events\": [...]}`, also with `sent_at`; other keys beside them are ignored",
        {"events": [E, E]}, {"sent_at": None, "events": [E, E], "writeKey": "x"},
        stored="each valid one", rows=2,
    ),
    body(
        "one event a line (NDJSON), with or without `Content-Type: application/x-ndjson`, also with empty lines or CR LF",
        LINES, LINES + b"\n", LINES.replace(b"\n", b"\r\n\r\n"), b'{"name":"a",\n{"name":"a"}\n{"name":"a"}\n{"name":"a"}',
        stored="each valid one", rows=3,
    ),
    body(
        "lines of which some are no events, with `Content-Type: application/x-ndjson`",
        b'nonsense\n{"name":"a"}\n\n[1]', b'nonsense\n{"name":"a"}\n5',
        headers={"Content_Type": "application/x-ndjson"}, stored="the good lines", rows=1,
        errors=((0, "invalid_json", None), (2, "not_an_object", None)),
    ),
    body(
        "one document laid out over lines, also with a Content-Type of lines",
        b'{\n  "name": "a"\n}\n', b'[\n{"name":"a"}\n]',
        headers={"Content_Type": "application/x-ndjson"}, stored="as it is", rows=1,
    ),
    body("a form with JSON in `data` (a beacon), whatever the Content-Type",
        b"data=%7B%22name%22%3A%22a%22%7D", b"v=1&data=" + b"[%7B%22name%22:%22caf%C3%A9%22}]", b"data=" + EVENT,
        headers={"Content_Type": "application/x-www-form-urlencoded"}, stored="the events in `data`", rows=1),
    body("a form whose `data` is no JSON", b"data=abc", b"data=data=data=", b"data=", code="invalid_json", field="data"),
    body("a form without `data`; multipart", b"name=a", b"--x\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n{}\r\n--x--",
        code="invalid_json"),
    body("an object with `name` and `events`", {"name": "a", "events": [E]},
        stored="one event; `events` is an unknown field", rows=[{"context": {"extra": {"events": [E]}}}]),
    body("`events` twice in one object", b'{"events":[{"name":"a"}],"events":[{"name":"b"}]}', code="duplicate_key", field="events"),
    *[body(f"`Content-Type: {kind}`", E, headers={"Content_Type": kind}, stored="the body counts")
      for kind in ("text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "nonsense/" )],
    body("a byte order mark of UTF-8 first", b"\xef\xbb\xbf" + EVENT, b"\xef\xbb\xbf \n" + EVENT, stored="without it"),
    body("white space around", b" \r\n\t" + EVENT + b"\n\n ", stored="one event"),
    body("nothing, or white space", b"", b" \n ", b"\xef\xbb\xbf", code="empty_body"),
    body("`[]`, `{\"events\": []}`", b"[]", b"[ ]", {"events": []}, code="no_events", field="events"),
    body("`{\"events\": {}}`", {"events": {}}, {"events": None}, {"events": "x"}, code="invalid_type", field="events"),
    body("`{}`", {}, code="required", field="name"),
    body("`5`, `\"text\"`, `null`", b"5", b'"text"', b"null", b"true", b"1" * 5_000, code="invalid_body"),
    body("no JSON", b"nonsense", b"{'name':'a'}", b'{"name":"a"', b'{"name":"a",}', b'{name:1}', b"<xml/>", b"[" * 100_000,
        b'"' * 99, code="invalid_json"),
    body("brackets of the body that do not close, or something behind them", b'[{"name":"a"}', b'[{"name":"a"}] x', b'{"events":[{"name":"a"}',
        b'[{"name":"a"}}', b'{"events":[{"name":"a"}]', code="invalid_json"),
    body("UTF-16, UTF-32", *[json.dumps([E]).encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")],
        EVENT.decode().encode("utf-16-le"), EVENT.decode().encode("utf-16-be"), code="invalid_utf8"),
    body("bytes that are no text", b"\xff\xfe\xfd", b"\x80abc", code="invalid_utf8"),
    body("an element that is no object", [E, None, 1, "x", [], True, E], stored="its neighbours", rows=2,
        errors=tuple((index, "not_an_object", None) for index in (1, 2, 3, 4, 5))),
    body("over 5,000 events", b"[" + b"{}," * 5_000 + b"{}]", b"[" + b"1," * 3_000_000 + b"1]", b"\n".join([EVENT] * 5_001),
        status=413, code="too_many_events"),
    body("over 20,000,000 bytes", b"x" * 20_000_001, status=413, code="body_too_large"),
    body("a form over 1,000,000 bytes", b"data=" + b"%20" * 400_000, status=413, code="body_too_large"),
]

ENCODINGS = [
    *[body(f"{label}", packed, headers=encoded_as(name) if name else {}, stored="inflated", rows=50) for label, packed, name in (
        ("`gzip`, `x-gzip`", gzip.compress(LONG), "x-gzip"),
        ("`deflate` with a zlib header", zlib.compress(LONG), "deflate"),
        ("`deflate`, raw", deflate_raw(LONG), "deflate"),
        ("`br`", brotli.compress(LONG), "br"),
        ("`zstd`", zstd.compress(LONG), "zstd"),
        ("gzip, zlib or zstd without `Content-Encoding`: known by their first bytes", zstd.compress(LONG), ""),
        ("one of these three under the name of another", gzip.compress(LONG), "br"),
    )],
    body("several gzip members or zstd frames, one after the other", gzip.compress(LONG[:99]) + gzip.compress(LONG[99:]),
        zstd.compress(LONG[:99]) + zstd.compress(LONG[99:]), stored="as one body", rows=50),
    *[body(f"`Content-Encoding: {name}`, but the body is plain JSON", LONG, headers=encoded_as(name), stored="as plain JSON", rows=50)
      for name in ("gzip", "br", "deflate", "utf-8", "aws-chunked", "identity")],
    body("`gzip` or `zstd`, but the body begins like neither", b"\x01\x02\x03\x04", headers=encoded_as("gzip"), code="broken_encoding"),
    body("another `Content-Encoding`", b"\x01\x02\x03\x04", headers=encoded_as("compress"), status=415, code="unsupported_encoding"),
    body("several of them", gzip.compress(EVENT), headers=encoded_as("gzip, br"), status=415, code="unsupported_encoding"),
    body("compressed twice", gzip.compress(gzip.compress(EVENT)), zstd.compress(gzip.compress(EVENT)), code="broken_encoding"),
    *[body(f"{label} that is cut short, has a byte flipped, or something behind it", packed[:-9], *flips, packed + b"junk",
        headers=encoded_as(name), code="broken_encoding") for label, packed, name, flips in (
        ("gzip", gzip.compress(LONG), "gzip", (flipped(gzip.compress(LONG)),)),
        ("zlib", zlib.compress(LONG), "deflate", (flipped(zlib.compress(LONG)),)),
        ("br", brotli.compress(LONG), "br", ()),
        ("zstd", zstd.compress(LONG, options={zstd.CompressionParameter.checksum_flag: 1}), "zstd",
         (flipped(zstd.compress(LONG, options={zstd.CompressionParameter.checksum_flag: 1})),)),
    )],
    body("gzip of a thousand empty members", SMALL_MEMBERS, code="broken_encoding"),
    *[body(f"a bomb: {label}", packed, headers=encoded_as(name), status=413, code="body_too_large") for label, packed, name in (
        ("gzip", gzip.compress(ZEROS), "gzip"), ("zlib", zlib.compress(ZEROS), "deflate"),
        ("br", brotli.compress(ZEROS, quality=5), "br"), ("zstd", zstd.compress(ZEROS), "zstd"),
    )],
    body("over 5,000,000 compressed bytes", b"\x1f\x8b" + b"x" * 5_000_000, status=413, code="body_too_large"),
]

WHO = [
    event("`name` missing or `null`", {}, {"name": None}, code="required", field="name"),
    event("`name`: no text", {"name": 5}, {"name": []}, {"name": True}, code="invalid_type", field="name"),
    event("`name`: blank", {"name": ""}, {"name": " \t"}, code="blank", field="name"),
    event("`name`: over 200 characters", {"name": "x" * 201}, {"name": "😀" * 201}, code="too_long", field="name"),
    event("200 characters of four bytes each", {"name": "😀" * 200, "user_id": "😀" * 200, "id": "😀" * 200}, stored="whole",
        rows=[{"name": "😀" * 200, "user_id": "😀" * 200, "client_event_id": "😀" * 200}]),
    event("`\"name\": \" a \"`", {"name": " a "}, stored="with its spaces", rows=[{"name": " a "}]),
    event("no `id`, `null` or `\"\"`", E, {"name": "a", "id": None}, {"name": "a", "id": ""}, stored="a new UUID (version 7)", rows=[{"name": "a"}]),
    event("`id`: a UUID in lower case with hyphens", {"name": "a", "id": "0190a7c8-1234-7abc-8def-0123456789ab"}, stored="that UUID",
        rows=[{"event_id": "0190a7c8-1234-7abc-8def-0123456789ab"}]),
    event("`id`: a UUID in another spelling", {"name": "a", "id": "0190A7C812347ABC8DEF0123456789AB"}, stored="that UUID; as sent in `client_event_id`",
        rows=[{"event_id": "0190a7c8-1234-7abc-8def-0123456789ab", "client_event_id": "0190A7C812347ABC8DEF0123456789AB"}]),
    event("`id`: any other text", {"name": "a", "id": "order 7"}, stored="a UUID (version 5) of project and text; as sent in `client_event_id`", rows=[{"client_event_id": "order 7"}]),
    event("`id`: a number", b'{"name":"a","id":12345678901234567890123}', stored="as text, with all digits", rows=[{"client_event_id": "12345678901234567890123"}]),
    body("the same `id` again within a day, in one request or another", [{"name": "a", "id": "1"}, {"name": "b", "id": "1"}], stored="once: the first", rows=2),
    event("`id`, `user_id`, `anonymous_id`, `session_id`: over 200 characters", *[{"name": "a", "user_id": "x" * length} for length in (201, 401, 5_000)],
        code="too_long", field="user_id"),
    event("the same: `true`, an array, an object", {"name": "a", "user_id": True}, {"name": "a", "user_id": []}, {"name": "a", "user_id": {}},
        code="invalid_type", field="user_id"),
    event("the same: `null` or `\"\"`", {"name": "a", "user_id": None}, {"name": "a", "user_id": ""}, stored="none", rows=[{"name": "a"}]),
    event("the same: a number", b'{"name":"a","user_id":1.50,"session_id":-0}', stored="as text, with the digits that were sent", rows=[{"user_id": "1.50", "session_id": "0"}]),
    event("`properties`, `context`: `null` or missing", {"name": "a", "properties": None}, E, stored="`{}`", rows=[{"properties": {}, "context": {}}]),
    event("the same: anything but an object", *[{"name": "a", "properties": wrong} for wrong in ("x", [], 5, True)], code="invalid_type", field="properties"),
    event("an unknown field", {"name": "a", "colour": "red"}, stored="under `context.extra`", rows=[{"context": {"extra": {"colour": "red"}}}]),
    event("an unknown field, and a `context` with an `extra` of its own", {"name": "a", "colour": "red", "context": {"extra": 1, "k": 2}},
        stored="the unknown field in its place; the exact bytes in `raw`", warning="sanitized", field="context.extra",
        rows=[{"context": {"extra": {"colour": "red"}, "k": 2}}]),
    event("an unknown field, `?strict=1`", {"name": "a", "colour": "red"}, query="?strict=1", code="unknown_field", field="colour"),
    event("over 1,000,000 bytes", prop(b'"' + b"x" * 1_000_000 + b'"'), status=413, code="too_large"),
    event("nested deeper than 64 levels", prop(b"[" * 63 + b"]" * 63), prop(b"[" * 100_000 + b"]" * 100_000), code="too_deep"),
    event("no JSON, its brackets closed", prop(b"tru"), b"{name:1}", prop(b"01"), prop(b'"a\tb"'), prop(b'"\\x"'), prop(b"1,,2"), code="invalid_json"),
    event("a byte that is not UTF-8 (Latin-1, a text cut in the middle of a character)", b'{"name":"a","user_id":"caf\xe9"}', b'{"user_id":"\xf0\x9f\x98","name":"a"}',
        b'{"name":"a","user_id":"\xed\xa0\x80"}', code="invalid_utf8", field="user_id"),
]

WHEN = [
    event("missing or `null`", E, {"name": "a", "occurred_at": None}, stored="time of receipt", rows=[{"name": "a"}]),
    event("RFC 3339, also with a space for `T` or a small `t`; without a zone it is taken for UTC",
        *[{"name": "a", "occurred_at": text} for text in ("2026-03-29T10:00:00Z", "2026-03-29 12:00:00+02:00", "2026-03-29t10:00:00")],
        stored="in UTC, to the microsecond", rows=[{"occurred_at": "2026-03-29T10:00:00.000000Z"}]),
    event("a date alone", {"name": "a", "occurred_at": "2026-03-29"}, stored="its midnight in UTC", rows=[{"occurred_at": "2026-03-29T00:00:00.000000Z"}]),
    event("a number, or text of digits", *[{"name": "a", "occurred_at": number} for number in (
            1774778400, 1774778400.0, "1774778400", 1774778400000, 1774778400000000, 1774778400000000000)],
        stored="seconds, milliseconds, microseconds or nanoseconds since 1970, by its size", rows=[{"occurred_at": "2026-03-29T10:00:00.000000Z"}]),
    event("anything else", *[{"name": "a", "occurred_at": wrong} for wrong in ("yesterday", "", True, [], {}, "2026-02-30", "10000-01-01", 1e300, -1e300)],
        stored="time of receipt; as sent in `context.original_occurred_at`", warning="invalid_time", field="occurred_at", rows=[{"name": "a"}]),
    event("before 2000, or more than 24 h ahead", *[{"name": "a", "occurred_at": wrong} for wrong in (-1, 0, "1999-12-31T23:59:59Z", "9999-12-31", "0001-01-01T00:00:00+14:00"[:10])],
        stored="the same", warning="absurd_time", field="occurred_at", rows=[{"name": "a"}]),
    body("`sent_at` that differs from our clock by 5 s or more", {"sent_at": "2026-01-01T00:00:00Z", "events": [{"name": "a", "occurred_at": "2026-01-01T00:00:00Z"}]},
        stored="moved by the difference; as sent in `context.original_occurred_at`", warning="clock_corrected", field="occurred_at",
        rows=[{"context": {"original_occurred_at": "2026-01-01T00:00:00Z"}}]),
    body("`sent_at` that is no time", *[b'{"sent_at":' + wrong + b',"events":[{"name":"a"}]}' for wrong in
            (b'"x"', b"9" * 5_000, b"[" * 500 + b"]" * 500, b'"\\ud800"', b"1e999", b"{}", b"true")], stored="as without it"),
]

JSONB = [
    event("NUL (`\\u0000`) in a text", prop(b'"a\\u0000b"'), stored="U+FFFD in its place; the exact bytes in `raw`", warning="sanitized", field="properties", rows=value("a\ufffdb")),
    event("the same as a key, or in `name`", b'{"name":"a\\u0000","properties":{"\\u0000":1}}', stored="the same", warning="sanitized", field="properties",
        rows=[{"name": "a\ufffd", "properties": {"\ufffd": 1}}]),
    event("half a surrogate pair, or a pair the wrong way round", prop(b'"\\ud800"'), prop(b'"\\udc00"'), stored="the same", warning="sanitized", field="properties", rows=value("\ufffd")),
    event("a whole pair; `\\\\u0000`, which is a backslash and text", prop(b'"\\ud83d\\ude00 \\\\u0000"'), stored="as sent", rows=value("😀 \\u0000")),
    event("a number beyond a double: `1e400`, `9e308`, 310 digits, `1e-400`", *[prop(number) for number in (b"1e400", b"9e308", b"1E+400", b"1e-400", b"-1e999999999")],
        stored="as text; the exact bytes in `raw`", warning="sanitized", field="properties", rows=[{"name": "a"}]),
    event("a long number within it: `12345678901234567890123`, `1.10`, `5e-324`", prop(b"12345678901234567890123"), stored="with all digits", rows=value(12345678901234567890123)),
    event("`NaN`, `Infinity`, `-Infinity`", prop(b"NaN"), prop(b"Infinity"), prop(b"-Infinity"), prop(b"[1,NaN]"), code="invalid_number"),
    event("a key twice in one object", prop(b'{"k":1,"k":2}'), prop(b'{"k":0,"\\u006b" : 2}'), stored="the last one; the exact bytes in `raw`", warning="duplicate_key", field="k",
        rows=value({"k": 2})),
    event("a field of the event twice", b'{"name":"b","name":"a"}', stored="the same", warning="duplicate_key", field="name", rows=[{"name": "a"}]),
    event("the same key in two objects", b'{"name":"a","properties":{"name":"b","l":[{"name":1},{"name":2}]}}', stored="as sent",
        rows=[{"properties": {"name": "b", "l": [{"name": 1}, {"name": 2}]}}]),
    event("an empty key, a key of 100,000 characters, 10,000 keys", {"name": "a", "properties": {"": 1, "k" * 100_000: 2} | {str(i): i for i in range(10_000)}},
        stored="as sent", rows=[{"name": "a"}]),
]

# fmt: on
SECTIONS: dict[str, list[Case]] = {
    "The body": FORMS,
    "Compressed": ENCODINGS,
    "Who and what": WHO,
    "When (`occurred_at`)": WHEN,
    "What `jsonb` cannot hold": JSONB,
}

HEAD = """# What is sent, what is answered, what is stored

The native form, `POST /v1/events`. Each row is a test (`events/tests/input_cases.py`), run against the ASGI edge and the
DRF view, and this page is made of them: `python -m events.tests.input_cases > docs/input.md`.

"as sent" means deep-equal JSON: order of keys and layout are PostgreSQL's (`jsonb`), numbers keep their digits. A refusal
names code, field and index, and has one of these statuses: 400 mend it, 413 make it smaller, 415 encode it otherwise; none
of them is worth sending again as it is. "in `errors`" is an event that costs only itself: alone its request is answered 400
(or what is named), among others 202, and its neighbours are stored. A warning means stored, with something altered.
"""
FOOT = """
## Beside the body

Headers and addresses are checked by `events/tests/test_ingest.py`, `test_cors.py` and `test_edge.py`.

| sent | answered |
|---|---|
| `/v1/events/`, `//v1/events` | the same, never a redirect: it would turn a POST into a GET |
| another method | 405 `method_not_allowed` |
| the key as Bearer, `X-Api-Key`, user of HTTP Basic, or `?key=` | 202; it appears in no log |
| no key, a wrong one; a revoked one, a read key | 401 `missing_key`, `invalid_key`; 403 `key_revoked`, `wrong_key_kind` |
| a page of an origin that the key is not for | 403 `origin_not_allowed`, which the page can read |
| `OPTIONS` (a page's preflight) | 204: any origin, and whatever headers it asks for |
| `Idempotency-Key` of 1 to 200 characters | events without `id` get the same ids when the request comes again |
| a longer or empty one | 400 `invalid_idempotency_key` |
| a Content-Length over the limit, or a body that grows over it | 413 at once; what still comes is read for as long as a body may take, so that the client sees the answer |
| Content-Length beside Transfer-Encoding; two lengths that differ | the connection is closed |
| a body that does not arrive within 10 s; one that is cut short | 408 `body_timeout`; 400 `incomplete_body` |
| headers over 400 kB, or slower than 30 s; no HTTP | 400, 414 or 431, or the connection is closed |

What PostgreSQL refuses for a reason nobody foresaw becomes a dead letter: code, SQLSTATE, error and the whole event.
"""


def lines() -> Iterator[str]:
    yield HEAD
    for title, cases in SECTIONS.items():
        yield f"## {title}\n\n| sent | answered | stored |\n|---|---|---|"
        for case in cases:
            yield f"| {case.sent} | {case.answered} | {case.stored} |"
        yield ""
    yield FOOT.strip()


def page() -> str:
    return "\n".join(lines()) + "\n"


def all_cases(wanted: Callable[[Case], bool]) -> list[Any]:
    import pytest

    return [
        pytest.param(case, sent, id=f"{case.sent[:50]}-{number}")
        for cases in SECTIONS.values()
        for case in cases
        if wanted(case)
        for number, sent in enumerate(case.bodies)
    ]


if __name__ == "__main__":
    print(page(), end="")
