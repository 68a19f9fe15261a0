"""The last hour as four charts whose crosshairs go together, from the samples of events/history.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from events.history import Sample
from eventsite.templatetags.pages import compact, number

PERIODS: Final = {"15m": ("15 m", 90), "1h": ("1 h", 360)}  # samples
SYNC: Final = "pipeline"
LEAST_SECONDS: Final = 600  # shown, however young the stack is
GAP_SECONDS: Final = 30  # without a sample: the line is broken there
TABLE_ROWS: Final = 60
SPARK: Final = 36  # samples: six minutes
FILLED: Final = ("rates", "depth")

Of = Callable[[Sample], float | None]


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    of: Of
    color: str
    key: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """`finding` says in words what is to be seen; `rows` are the same numbers as a table."""

    id: str
    title: str
    finding: str
    spec: dict[str, Any]
    keys: list[tuple[str, str]]
    columns: list[str]
    rows: list[list[str]]


def charts(samples: Sequence[Sample], scope: int | None, zone: str) -> list[Chart]:
    def own(sample: Sample, place: int) -> int:
        return sample.projects.get(scope or 0, (0, 0))[place]

    accepted: Of = lambda s: (s.accepted if scope is None else own(s, 0)) / s.seconds  # noqa: E731
    queued: Of = lambda s: s.queued if scope is None else own(s, 1)  # noqa: E731
    drained: Of = lambda s: s.drained / s.seconds  # noqa: E731
    bound: Of = lambda _: settings.EVENTS_QUEUE_MAX_EVENTS  # noqa: E731
    left = drained if scope is None else _left_of(samples, scope)
    near = scope is None and any(s.queued > 0.2 * settings.EVENTS_QUEUE_MAX_EVENTS for s in samples)
    bounds = [Series("bound, 503 above", bound, "--warn", "kw", dashed=True)] if near else []
    made: list[tuple[str, str, str, list[Series]]] = [
        (
            "rates",
            "Accepted and stored",
            "/s",
            [Series("accepted", accepted, "--c1", "k1"), Series("stored", left, "--good", "kg")],
        ),
        ("depth", "Waiting in the queue", "", [Series("events", queued, "--c1", "k1"), *bounds]),
        (
            "latency",
            "Accepted to stored, seconds",
            " s",
            [
                Series("p50", lambda s: s.p50, "--c8", "k8"),
                Series("p95", lambda s: s.p95, "--c1", "k1"),
                Series("p99", lambda s: s.p99, "--c5", "k5"),
            ],
        ),
        (
            "store",
            "Store time per batch, ms",
            " ms",
            [
                Series("p50", lambda s: _ms(s.store_p50), "--c8", "k8"),
                Series("p95", lambda s: _ms(s.store_p95), "--c1", "k1"),
            ],
        ),
    ]
    return [_chart(samples, zone, *one) for one in made]


def sparks(samples: Sequence[Sample], scope: int | None) -> dict[str, list[float]]:
    """The last minutes of three stages, for the pictures in them."""
    last = samples[-SPARK:]
    left = (lambda s: s.drained) if scope is None else _left_of(last, scope)
    came = [(s.accepted if scope is None else s.projects.get(scope, (0, 0))[0]) / s.seconds for s in last]
    gone = [(left(s) or 0) / (s.seconds if scope is None else 1) for s in last]
    return {"came": came, "left": gone, "batches": [(s.batches or 0) / s.seconds for s in last]}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)


def _left_of(samples: Sequence[Sample], scope: int) -> Of:
    """What a project's events left the queue: those that came, less those that wait more than before."""
    rates: dict[int, float] = {}
    waited = samples[0].projects.get(scope, (0, 0))[1] if samples else 0
    for sample in samples:
        came, waits = sample.projects.get(scope, (0, 0))
        rates[sample.at] = max(0, came - (waits - waited)) / sample.seconds
        waited = waits
    return lambda sample: rates[sample.at]


def _chart(
    samples: Sequence[Sample],
    zone: str,
    name: str,
    title: str,
    unit: str,
    series: Sequence[Series],
) -> Chart:
    times: list[int] = []
    values: list[list[float | None]] = [[] for _ in series]
    for sample in samples:
        if times and sample.at - times[-1] > GAP_SECONDS:
            times.append(times[-1] + 1)
            for one in values:
                one.append(None)
        times.append(sample.at)
        for one, line in zip(values, series, strict=True):
            found = line.of(sample)
            one.append(None if found is None else round(found, 3))
    lines = [
        {"n": line.name, "v": v, "color": line.color, "key": line.key}
        | ({"dash": [6, 4]} if line.dashed else {"fill": place == 0 and name in FILLED})
        for place, (line, v) in enumerate(zip(series, values, strict=True))
    ]
    spec = {"t": times, "series": lines, "sync": SYNC, "unit": unit, "tz": zone, "least": LEAST_SECONDS}
    findings = (_finding(line.name, v, unit) for line, v in zip(series, values, strict=True))
    return Chart(
        id=f"chart-{name}",
        title=title,
        finding=f"{title}. {' '.join(findings)}",
        spec=spec,
        keys=[(line.name, line.key) for line in series],
        columns=[line.name for line in series],
        rows=_rows(times, values),
    )


def _finding(name: str, values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: no figures yet."
    return f"{name}: now {compact(known[-1])}{unit}, at most {compact(max(known))}{unit}."


def _rows(times: Sequence[int], values: Sequence[Sequence[float | None]]) -> list[list[str]]:
    """The latest first; epoch seconds, then the numbers. At most an hour by minutes."""
    step = max(1, len(times) // TABLE_ROWS)
    places = range(len(times) - 1, -1, -step)
    return [[str(times[p]), *(number(one[p], 2) if one[p] is not None else "–" for one in values)] for p in places]  # fmt: skip
