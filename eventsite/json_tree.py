"""JSON as nodes for templates/_json_tree.html: of bounded size, whatever was sent."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import msgspec

MAX_NODES: Final = 2_000
MAX_TEXT: Final = 2_000
MAX_PATH: Final = 8  # of a filter, and its length (events/insights/question.py)
MAX_FILTER: Final = 1_000
_SPECIAL: Final = re.compile(r"[\\.:]")


@dataclass(frozen=True, slots=True)
class Node:
    """`children` is None for a leaf. `filter`: "path:eq:value" where a filter can ask for it, else ""."""

    key: str
    path: str
    kind: str  # object, array, text, number, true, null
    text: str
    depth: int
    is_marked: bool
    filter: str
    children: "list[Node] | None" = None


def tree(value: Any, *, marked: Collection[str] = (), path: str = "", key: str = "") -> Node:
    """Takes decoded JSON, returns its root. `marked`: paths, like properties.amount, that are shown tinted."""
    left = [MAX_NODES]

    def node(value: Any, path: str, key: str, depth: int, keys: tuple[str, ...]) -> Node:
        left[0] -= 1
        is_marked = path in marked
        if not isinstance(value, dict | list):
            text = _shown(value)
            asked = equals(keys, value) if value is not None and keys else ""
            return Node(
                key, path, _kind(value), text, depth, is_marked, asked if len(asked) <= MAX_FILTER else ""
            )
        items = value.items() if isinstance(value, dict) else enumerate(value)
        children = []
        for name, item in items:
            if left[0] <= 0:
                children.append(Node("", path, "null", "… more than is shown here", depth + 1, False, ""))
                break
            below = f"{path}.{name}" if path else str(name)
            children.append(node(item, below, str(name), depth + 1, (*keys, str(name))))
        text = f"{{{len(value)}}}" if isinstance(value, dict) else f"[{len(value)}]"
        kind = "object" if isinstance(value, dict) else "array"
        return Node(key, path, kind, text, depth, is_marked, "", children)

    return node(value, path, key, 0, (path,) if path else ())


def place(keys: Collection[str]) -> str:
    """A path as filters in addresses have it: `address.city`; a backslash before what would be read otherwise."""
    text = ".".join(_SPECIAL.sub(r"\\\g<0>", key) for key in keys)
    return f"\\{text}" if text[:1] in ("@", "{") else text


def equals(keys: Collection[str], value: str | float) -> str:
    """The filter for a leaf's value (events/views/conditions.py); "" where it is deeper than filters reach."""
    if len(keys) > MAX_PATH:
        return ""
    return f"{place(keys)}:eq:{value if isinstance(value, str) else _shown(value)}"


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode(errors="replace")
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true"
    return "text" if isinstance(value, str) else "number"
