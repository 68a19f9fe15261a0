"""The parts of the overview: each asks its own questions, and returns what its template shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from events import deadletter
from events.deadletter import Wanted
from events.insights import periods
from events.models import Event, LetterState
from events.views.asking import answer
from events.views.conditions import of_property
from events.views.guesses import Guesses
from events.views.state import State
from eventsite.templatetags.pages import compact, number

NAMES: Final = 7  # of the chart: there are eight colours
ROWS: Final = 8
MANIFOLD: Final = 10  # a rise is then told as so many times, not in per cent
WHOLE: Final = 100_000_000  # numbers up to here are written out
NOW_SECONDS: Final = 60
NOW_COUNTED: Final = 100_000
MEASURES: Final = {"events": "Events", "persons": "Persons", "errors": "Error rate", "latency": "Latency p95"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a part is made of. `measure` (of MEASURES) is the chart's."""

    state: State
    guesses: Guesses
    measure: str

    @property
    def compared(self) -> str | None:
        return "previous" if self.state.compare else None

    def trends(self, **more: Any) -> dict[str, Any]:
        question = self.state.question(
            **{name: value for name, value in more.items() if value is not Ellipsis}
        )
        return answer(self.state.project, "trends", question)

    def latency(self, **more: Any) -> dict[str, Any]:
        question = self.state.question(property=self.guesses.latency, **more)
        return answer(self.state.project, "performance", question)


# --- the strip of numbers -------------------------------------------------------------------------------------------


def stats(asked: Asked) -> dict[str, Any]:
    found = asked.trends(
        series=[
            {"label": "events"},
            {"label": "persons", "measure": {"kind": "persons"}},
            {"label": "errors", "where": asked.guesses.errors},
        ],
        ratio=[2, 0],
        totals=True,
        compare=asked.compared,
    )
    events, persons, _ = found["series"]
    shown = [
        _stat("events", events, _count, good_up=True),
        _stat("persons", persons, _count, good_up=True),
        _stat("errors", found["ratio"], _per_cent, unit="%", good_up=False),
    ]
    if asked.guesses.latency:
        times = asked.latency(compare=asked.compared)
        shown.append(
            _stat("latency", _of_performance(times, "p95"), _figure, unit=asked.guesses.unit, good_up=False)
        )
    else:
        shown.append(
            {
                "measure": "latency",
                "label": "Latency",
                "value": "–",
                "detail": "no property like duration_ms",
                "values": [],  # without it a template would take the dict's method
            }
        )
    for one in shown[: len(MEASURES) if asked.guesses.latency else -1]:
        one["url"] = asked.state.links.set(measure=one["measure"])
        one["is_current"] = one["measure"] == asked.measure
    return {"stats": shown, "now": _now(asked.state), "seconds": NOW_SECONDS, "is_empty": not events["total"]}


def _stat(
    measure: str, line: dict[str, Any], text: Callable[[Any], str], *, unit: str = "", good_up: bool
) -> dict[str, Any]:
    total, before = line["total"], line.get("previous", {}).get("total")
    found: dict[str, Any] = {
        "measure": measure, "label": MEASURES[measure], "value": text(total), "unit": unit if total is not None else "",
        "values": [value or 0 for value in line["values"] or []], "tone": "bad" if measure == "errors" else "",
    }  # fmt: skip
    if before is not None:
        found["detail"] = f"vs {compact(before) if text is _count else text(before)} {unit}".strip()
        found |= _change(total, before, good_up=good_up, in_points=measure == "errors")
    return found


def _change(total: Any, before: Any, *, good_up: bool, in_points: bool = False) -> dict[str, Any]:
    """Empty where there is nothing to compare, or no difference that would be seen."""
    if total is None or before is None or (not before and not in_points):
        return {}
    difference = total - before
    if in_points:
        text = f"{abs(difference) * 100:.2f} pt"
    elif total >= MANIFOLD * before > 0:
        text = f"{total / before:,.0f} ×"
    else:
        text = f"{abs(difference) / before * 100:.1f} %"
    if not any(digit in text for digit in "123456789"):
        return {}
    is_up = difference > 0
    return {"change": text, "change_up": is_up, "change_tone": "good" if is_up == good_up else "bad"}


def _of_performance(found: dict[str, Any], name: str) -> dict[str, Any]:
    line = {"total": found["total"][name], "values": (found["series"] or {}).get(name)}
    if "previous" in found:
        line["previous"] = {"total": found["previous"]["total"][name]}
    return line


def _now(state: State) -> float:
    """Events a second that came in within a minute: from PostgreSQL, which has them first. Filters do not touch it."""
    since = timezone.now() - timedelta(seconds=NOW_SECONDS)
    latest = Event.objects.filter(
        project_id=state.project.pk, occurred_at__gte=since, received_at__gte=since
    ).order_by()
    return latest[:NOW_COUNTED].count() / NOW_SECONDS


def _count(value: int | None) -> str:
    return number(value) if value is None or value < WHOLE else compact(value)


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.2f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else number(value, 0) if abs(value) >= 100 else f"{value:.3g}"


# --- over time ------------------------------------------------------------------------------------------------------


def chart(asked: Asked) -> dict[str, Any]:
    made = {"events": _by_name, "persons": _persons, "errors": _errors, "latency": _latency}[asked.measure]
    return made(asked) | {"measure": asked.measure}


def _by_name(asked: Asked) -> dict[str, Any]:
    found = asked.trends(
        breakdown={"field": "name", "limit": NAMES}, compare=asked.compared, interval=asked.state.interval
    )
    groups = found["series"][0]["groups"]
    rows, series = [], []
    for place, group in enumerate(groups):
        color, key = ("--control", "k0") if group["is_other"] else (f"--c{place + 1}", f"k{place + 1}")
        label = "other" if group["is_other"] else group["group"]
        series.append({"n": label, "v": group["values"], "color": color, "key": key})
        before = group.get("previous", {}).get("total")
        rows.append(
            {
                "label": label,
                "key": key,
                "total": group["total"],
                "url": "" if group["is_other"] else asked.state.with_name(label),
                **_change(group["total"], before, good_up=True),
            }
        )
    total = sum(row["total"] for row in rows)
    is_open = _is_open(asked.state, found)
    spec = _spec(asked.state, found["times"], series[::-1], is_open=is_open, stack=True)
    sums = [sum(values) for values in zip(*(one["v"] for one in series), strict=True)]
    return {
        "title": "Events by name", "note": _note(asked.state, found), "as_of": _as_of(found), "spec": spec, "rows": rows,
        "is_empty": not total, "finding": f"{number(total)} events; {_peak(sums, found['times'])}",
        "is_compared": asked.state.compare, "table": _table(found["times"], series, is_open=is_open),
    }  # fmt: skip


def _persons(asked: Asked) -> dict[str, Any]:
    found = asked.trends(
        measure={"kind": "persons"}, totals=True, compare=asked.compared, interval=asked.state.interval
    )
    (line,) = found["series"]
    return _lines(asked, found, "Persons", [("persons", line["values"], "--c1", "k1")], _before(line))


def _errors(asked: Asked) -> dict[str, Any]:
    found = asked.trends(
        series=[{"where": asked.guesses.errors}, {}],
        ratio=[0, 1],
        compare=asked.compared,
        interval=asked.state.interval,
    )
    line = found["ratio"]
    percent = [None if value is None else round(value * 100, 3) for value in line["values"]]
    before = _before(line)
    if before:
        before = [None if value is None else round(value * 100, 3) for value in before]
    made = _lines(asked, found, "Error rate", [("error rate", percent, "--bad", "kb")], before, unit=" %")
    return made | {
        "said": asked.guesses.errors_said,
        "url": asked.state.links.adding(asked.guesses.errors_text),
        "least": 1,
    }


def _latency(asked: Asked) -> dict[str, Any]:
    found = asked.latency(interval=asked.state.interval)
    series = found["series"]
    lines = [
        (name, series[name], color, key)
        for name, color, key in (("p50", "--c8", "k8"), ("p95", "--c1", "k1"), ("p99", "--c2", "k2"))
    ]
    unit = f" {asked.guesses.unit}" if asked.guesses.unit else ""
    return _lines(asked, found, asked.guesses.latency, lines, None, unit=unit)


def _lines(
    asked: Asked,
    found: dict[str, Any],
    title: str,
    lines: Sequence[tuple[str, list[Any], str, str]],
    before: list[Any] | None,
    unit: str = "",
) -> dict[str, Any]:
    series: list[dict[str, Any]] = []
    if before:
        length = len(found["times"])
        shown = (before + [None] * length)[:length]
        series.append({"n": "period before", "v": shown, "color": "--control", "key": "k0", "width": 1})
    series += [
        {"n": name, "v": values, "color": color, "key": key, "fill": len(lines) == 1}
        for name, values, color, key in lines
    ]
    return over_time(asked.state, found, title, series, unit)


def over_time(
    state: State, found: dict[str, Any], title: str, series: list[dict[str, Any]], unit: str = ""
) -> dict[str, Any]:
    """Lines for overview/_chart.html; `found`: the answer they are from. The last one is what is said in words."""
    times, values, is_open = found["times"], series[-1]["v"], _is_open(state, found)
    spec = _spec(state, times, series, is_open=is_open, unit=unit)
    return {
        "title": title, "note": _note(state, found), "as_of": _as_of(found), "spec": spec, "lines": series[::-1],
        "is_empty": not any(values), "finding": f"{title}; {_peak(values, times, unit)}",
        "table": _table(times, series, is_open=is_open),
    }  # fmt: skip


def _before(line: dict[str, Any]) -> list[Any] | None:
    return line["previous"]["values"] if "previous" in line else None


def _spec(
    state: State,
    times: Sequence[str],
    series: list[dict[str, Any]],
    *,
    is_open: bool,
    stack: bool = False,
    unit: str = "",
) -> dict[str, Any]:
    return {
        "t": [_epoch(time) for time in times], "series": series, "open": is_open, "stack": stack, "unit": unit, "select": True,
        "tz": state.zone.key,
    }  # fmt: skip


def _is_open(state: State, found: dict[str, Any]) -> bool:
    """Whether the last bucket reaches beyond what is known, or beyond the period: what it holds is not all of it."""
    if not found["times"]:
        return False
    start = datetime.fromisoformat(found["times"][-1])
    end = periods.end_of_bucket(start, state.zone, found["period"]["interval"])
    return end > min(datetime.fromisoformat(found["as_of"]), datetime.fromisoformat(found["period"]["until"]))


def _as_of(found: dict[str, Any]) -> datetime:
    """All that was stored until then is in the answer."""
    return datetime.fromisoformat(found["as_of"])


def _note(state: State, found: dict[str, Any]) -> str:
    return f"by {found['period']['interval']}, {state.zone.key}"


def _peak(values: Sequence[Any], times: Sequence[str], unit: str = "") -> str:
    known = [(value, time) for value, time in zip(values, times, strict=False) if value]
    if not known:
        return "nothing"
    value, time = max(known)
    return f"the most, {compact(value)}{unit}, at {time[:16].replace('T', ' ')}"


def _table(times: Sequence[str], series: Sequence[dict[str, Any]], *, is_open: bool) -> dict[str, Any]:
    """The chart's numbers for _data_table.html, the latest first."""
    said = [time[:16].replace("T", " ") for time in times]
    if is_open:
        said[-1] += ", so far"
    columns = [{"label": "Time", "kind": "mono"}] + [{"label": one["n"], "kind": "num"} for one in series]
    rows = [[time, *(_cell(one["v"][place]) for one in series)] for place, time in enumerate(said)]
    return {"columns": columns, "rows": rows[::-1]}


def _cell(value: float | None) -> str:
    return number(value, 0 if value is None or float(value).is_integer() else 2)


def _epoch(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


# --- lists ----------------------------------------------------------------------------------------------------------


def top(asked: Asked) -> dict[str, Any]:
    found = asked.trends(
        series=[{}, {"measure": {"kind": "persons"}}],
        breakdown={"field": "name", "limit": ROWS},
        interval=None,
    )
    events, persons = (series["groups"] for series in found["series"])
    pairs = [(one, other) for one, other in zip(events, persons, strict=True) if one["total"]]
    rows = [
        {"label": one["group"], "events": one["total"], "persons": other["total"], "is_other": one["is_other"],
            "url": "" if one["is_other"] else asked.state.with_name(one["group"])}
        for one, other in pairs
    ]  # fmt: skip
    most = max((row["events"] for row in rows if not row["is_other"]), default=0)
    return {"rows": rows, "most": most, "is_empty": not rows}


def slowest(asked: Asked) -> dict[str, Any]:
    guesses = asked.guesses
    if not guesses.latency:
        return {"is_unknown": True}
    by = {"property": guesses.by} if guesses.by else {"field": "name"}
    found = asked.latency(interval=None, breakdown={**by, "limit": ROWS, "min_count": 1})
    rows = [
        {"label": "none" if one["group"] is None else one["group"], "p95": _figure(one["p95"]), "width": one["p95"],
            "events": one["measured"], "url": _grouped(asked.state, guesses.by, one["group"])}
        for one in found["slowest"] if one["measured"]
    ]  # fmt: skip
    return {
        "rows": rows, "most": max((row["width"] for row in rows), default=0), "by": guesses.by or "name",
        "latency": guesses.latency, "unit": guesses.unit, "is_empty": not rows,
    }  # fmt: skip


def _grouped(state: State, by: str, group: str | None) -> str:
    return state.links.adding(of_property(by, group)) if by else state.with_name(group or "")


def failures(asked: Asked) -> dict[str, Any]:
    """What waits to be mended, whenever it failed: the period does not touch it."""
    wanted = Wanted(project_id=asked.state.project.pk, state=LetterState.WAITING)
    found = deadletter.groups(wanted).groups
    address = reverse("failures-letters", args=[asked.state.project.pk])
    rows = [
        {"group": one, "url": f"{address}?{urlencode({'fingerprint': one.fingerprint})}"} for one in found[:5]
    ]
    return {"rows": rows, "waiting": sum(one.letters for one in found), "is_empty": not found}


PARTS: Final[dict[str, Callable[[Asked], dict[str, Any]]]] = {
    "stats": stats,
    "chart": chart,
    "top": top,
    "slowest": slowest,
    "failures": failures,
}
