"""What the steps came to: rates, cost, ratios."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench.steps import Figures
from bench.tables import table

PARTS = ("web", "drain", "postgres", "valkey", "worker", "lake", "flower", "wrk")


def throughput(steps: Sequence[Figures]) -> str:
    """Rates while the load ran; "stored/s in all" is over the load and the drain after it."""
    head = [
        "load", "connections", "requests/s", "accepted/s", "stored/s in the run", "stored/s in all", "drained after, s",
        "p50 ms", "p99 ms", "non-2xx", "broken, late",
    ]  # fmt: skip
    rows = []
    for figures in steps:
        answered = figures.answered
        rows.append([
            figures.step.name, f"{figures.step.connections:,}",
            *(f"{count / answered.seconds:,.0f}" for count in (answered.requests, figures.accepted, figures.stored)),
            f"{figures.stored_per_second:,.0f}", f"{figures.drain_seconds:.1f}",
            f"{answered.p50_ms:.1f}", f"{answered.p99_ms:.1f}", str(answered.non_2xx),
            f"{answered.broken}, {answered.late}",
        ])  # fmt: skip
    return table(head, rows)


def cost(steps: Sequence[Figures]) -> str:
    """CPU microseconds an event, by process, the drain included; and the highest memory of the stack."""
    rows = []
    for figures in steps:
        each = [figures.cpu_seconds.get(part, 0.0) * 1e6 / max(1, figures.total) for part in PARTS]
        rows.append(
            [figures.step.name, *(f"{cpu:.1f}" for cpu in [*each, sum(each)]), f"{figures.pss_mb:.0f}"]
        )
    return table(["CPU µs an event", *PARTS, "all", "PSS MB, highest"], rows)


def ratios(ours: Sequence[Figures], others: Mapping[str, Sequence[Figures]]) -> list[str]:
    """How many times more events a second, end to end, ours stores: median over the rounds."""
    own = median(figures.stored_per_second for figures in ours)
    lines = []
    for name, theirs in others.items():
        other = median(figures.stored_per_second for figures in theirs)
        lines.append(f"{own / other:.1f} times {name} ({own:,.0f} against {other:,.0f} events/s, stored)")
    return lines


def lost(steps: Iterable[Figures]) -> int:
    """Events that were accepted and are no rows. Not 0 is a fault."""
    return sum(figures.accepted - figures.total for figures in steps)
