"""JSON as nodes for templates/_json_tree.html: of bounded size, whatever was sent."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import msgspec

MAX_NODES: Final = 2_000
MAX_TEXT: Final = 2_000


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

    def node(value: Any, path: str, key: str, depth: int) -> Node:
        left[0] -= 1
        is_marked = path in marked
        if not isinstance(value, dict | list):
            text = _shown(value)
            asked = f"{path}:eq:{value}" if isinstance(value, str | int | float) and path else ""
            return Node(
                key, path, _kind(value), text, depth, is_marked, asked if len(asked) <= MAX_TEXT else ""
            )
        items = value.items() if isinstance(value, dict) else enumerate(value)
        children = []
        for name, item in items:
            if left[0] <= 0:
                children.append(Node("", path, "null", "… more than is shown here", depth + 1, False, ""))
                break
            children.append(node(item, f"{path}.{name}" if path else str(name), str(name), depth + 1))
        text = f"{{{len(value)}}}" if isinstance(value, dict) else f"[{len(value)}]"
        kind = "object" if isinstance(value, dict) else "array"
        return Node(key, path, kind, text, depth, is_marked, "", children)

    return node(value, path, key, 0)


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode(errors="replace")
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true"
    return "text" if isinstance(value, str) else "number"
