"""The chart of the overview, by name or of one measure; its table, and what it says in words."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from events.insights import periods
from events.views.overview_asked import Asked
from events.views.overview_stats import change
from events.views.state import State
from eventsite.templatetags.pages import compact, number

NAMES: Final = 7  # of the chart: there are eight colours


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
                **change(group["total"], before, good_up=True),
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
