"""What a trend's answer looks like: its cells as lines, with their groups, ratio and the period before."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from events.insights.buckets import Buckets
from events.insights.measures import EMPTY, OTHER, Cells, Figure, Groups
from events.insights.periods import Period


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    names: tuple[str, ...] | None
    figure: Figure


@dataclass(frozen=True, slots=True)
class Frame:
    """Of one period: the values (by group and bucket) and the totals (by group) of each line. No buckets, no values."""

    period: Period
    buckets: Buckets | None
    values: list[Cells]
    totals: list[Cells]


Figures = dict[str, Any]  # {"total": …, "values": […] or null}


def shown(
    lines: list[Line],
    groups: Groups | None,
    frame: Frame,
    earlier: Frame | None,
    ratio: list[int] | None,
) -> dict[str, Any]:
    numbers = _numbers(groups, [frame] if earlier is None else [frame, earlier])
    series = []
    for place, line in enumerate(lines):
        head = {"label": line.label, "name": line.names, "measure": line.figure.kind}
        series.append(head | _line(place, line, groups, numbers, frame, earlier))
    period = frame.period
    answer: dict[str, Any] = {
        "period": period.shown_with_interval,
        "times": frame.buckets.starts if frame.buckets else None,
        "series": series,
    }
    if earlier is not None:
        answer["previous"] = earlier.period.ends | {
            "times": earlier.buckets.starts if earlier.buckets else None
        }
    if ratio is not None:
        answer["ratio"] = _ratio(series[ratio[0]], series[ratio[1]])
    return answer


def _numbers(groups: Groups | None, frames: Iterable[Frame]) -> list[int]:
    """Of the groups shown: all that were chosen, and the rest where there is one in any line."""
    if groups is None:
        return [0]
    cells = (cell for frame in frames for line in (*frame.values, *frame.totals) for cell in line)
    has_rest = groups.has_rest or any(group == OTHER for group, _ in cells)
    return [*range(len(groups.names)), *([OTHER] if has_rest else [])]


def _line(
    place: int, line: Line, groups: Groups | None, numbers: list[int], frame: Frame, earlier: Frame | None
) -> dict[str, Any]:
    found = []
    for number in numbers:
        figures = _figures(line, place, number, frame)
        if earlier is not None:
            figures["previous"] = _figures(line, place, number, earlier)
        found.append(figures)
    if groups is None:
        return found[0]
    return {
        "groups": [
            {"group": None if number == OTHER else groups.names[number], "is_other": number == OTHER}
            | figures
            for number, figures in zip(numbers, found, strict=True)
        ]
    }


def _figures(line: Line, place: int, group: int, frame: Frame) -> Figures:
    empty = EMPTY.get(line.figure.kind)
    total = frame.totals[place].get((group, 0), empty)
    if frame.buckets is None:
        return {"total": total, "values": None}
    values = frame.values[place]
    return {
        "total": total,
        "values": [values.get((group, bucket), empty) for bucket in range(frame.buckets.count)],
    }


def _ratio(above: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Part by part; null where there is nothing to divide, or nothing to divide by."""
    if "groups" in above:
        pairs = zip(above["groups"], below["groups"], strict=True)
        return {
            "groups": [
                {"group": one["group"], "is_other": one["is_other"]} | _ratio(one, other)
                for one, other in pairs
            ]
        }
    found: dict[str, Any] = {"total": _quotient(above["total"], below["total"]), "values": None}
    if above["values"] is not None:
        pairs = zip(above["values"], below["values"], strict=True)
        found["values"] = [_quotient(one, other) for one, other in pairs]
    if "previous" in above:
        found["previous"] = _ratio(above["previous"], below["previous"])
    return found


def _quotient(above: Any, below: Any) -> float | None:
    return above / below if above is not None and below else None
