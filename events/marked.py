"""JSON as people read it: indented, with the lines marked that an error is about."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from events.admin_lists import verbatim
from events.verdict import Verdict

_KEY: Final = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)": )?(.*)')


def marked(payload: bytes, paths: Sequence[str]) -> SafeString:
    """Takes bytes that ought to be JSON, returns them indented, the lines of these paths marked; else as they are."""
    try:
        lines = msgspec.json.format(payload, indent=2).decode().splitlines()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return verbatim(payload.decode(errors="backslashreplace"))
    wanted = tuple(paths)
    shown = (
        format_html("<mark>{}</mark>", line) if _is_within(place, wanted) else format_html("{}", line)
        for line, place in zip(lines, _places(lines), strict=True)
    )
    return format_html(
        '<pre class="verbatim">{}</pre>', format_html_join("\n", "{}", ((line,) for line in shown))
    )


def _is_within(place: str, wanted: tuple[str, ...]) -> bool:
    return any(place == path or place.startswith(f"{path}.") for path in wanted)


def _places(lines: list[str]) -> Iterator[str]:
    """The path of the value that each line of indented JSON begins, continues or ends."""
    names: list[str] = []
    counts: list[int | None] = []  # of the elements of an array; None in an object
    for line in lines:
        text = line.strip().rstrip(",")
        if text in ("}", "]"):
            yield ".".join(names)
            counts.pop()
            if names:
                names.pop()
            continue
        match = _KEY.fullmatch(line)
        key, value = (match[1], match[2].rstrip(",")) if match else (None, text)
        name = key
        if counts and counts[-1] is not None:
            name, counts[-1] = str(counts[-1]), counts[-1] + 1
        place = [*names, name] if name is not None else names
        yield ".".join(place)
        if value in ("{", "["):
            if name is not None:
                names.append(name)
            counts.append(0 if value == "[" else None)


def around(text: str, found: Verdict | None) -> str:
    """The line that a verdict names, with a caret below its column."""
    lines = text.splitlines()
    if found is None or found.line is None or not 0 < found.line <= len(lines):
        return ""
    line, column = lines[found.line - 1], found.column or 1
    start = max(0, column - 60)
    return f"{found.line:>5} | {line[start : start + 120]}\n        {' ' * (column - 1 - start)}^"
