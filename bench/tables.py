"""Figures as Markdown: they go into the documents as they are printed."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = [list(head), ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join(map(row, body))


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
