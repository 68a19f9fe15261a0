"""Diff: what one schema has and another has not, by place."""

from typing import Any, Final

import msgspec

MAX_CHANGES: Final = 100
MAX_SHOWN: Final = 200
_MISSING: Final = object()

Change = dict[str, str | None]


def diff(before: Any, after: Any) -> list[Change]:
    """Takes two JSON values, returns the places that differ, each with what stood and what stands there as JSON, or None."""
    return [
        {"place": place, "before": _shown(old), "after": _shown(new)}
        for place, old, new in _differences(before, after, "")[:MAX_CHANGES]
    ]


def _differences(before: Any, after: Any, place: str) -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [
            found
            for key in keys
            for found in _differences(
                before.get(key, _MISSING), after.get(key, _MISSING), f"{place}.{key}" if place else key
            )
        ]
    # 1, 1.0 and true are equal in Python, and are not the same in JSON.
    return [] if _shown(before) == _shown(after) else [(place, before, after)]


def _shown(value: Any) -> str | None:
    return None if value is _MISSING else msgspec.json.encode(value).decode()


def shortened(changes: list[Change]) -> list[Change]:
    """The same as it is kept: long values by their beginning."""
    return [{name: _short(text) for name, text in change.items()} for change in changes]


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
