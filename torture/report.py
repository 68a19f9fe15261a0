"""What was done and what came of it, as a Markdown table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from torture.verdict import Verdict
from torture.watch import Recovery

HEAD = (
    "fault",
    "times",
    "acknowledged",
    "lost",
    "doubled",
    "slowest: stored again, s",
    "slowest: caught up, s",
)


@dataclass
class Line:
    """One kind of fault, over all its times. `acknowledged`: while it was at work, and until it was recovered from."""

    name: str
    times: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    resumed: float = 0.0
    caught_up: float = 0.0

    def took(self, recovery: Recovery, acknowledged: int) -> None:
        self.times += 1
        self.acknowledged += acknowledged
        self.resumed = max(self.resumed, recovery.resumed)
        self.caught_up = max(self.caught_up, recovery.caught_up)


@dataclass
class Tally:
    """All lines, and which of them a place belongs to."""

    lines: dict[str, Line] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def line(self, place: int, name: str) -> Line:
        self.places[place] = name
        return self.lines.setdefault(name, Line(name))

    def judged(self, verdict: Verdict) -> None:
        for attribute, counts in (("lost", verdict.lost), ("doubled", verdict.doubled)):
            for name, count in self._named(counts).items():
                line = self.lines.setdefault(name, Line(name))
                setattr(line, attribute, getattr(line, attribute) + count)

    def _named(self, counts: Counter[int]) -> Counter[str]:
        named: Counter[str] = Counter()
        for place, count in counts.items():
            named[self.places.get(place, "between faults")] += count
        return named

    def table(self) -> str:
        rows = [
            (line.name, f"{line.times}", f"{line.acknowledged:,}", f"{line.lost}", f"{line.doubled}",
             f"{line.resumed:.1f}", f"{line.caught_up:.1f}")
            for line in self.lines.values()
        ]  # fmt: skip
        every = self.lines.values()
        total = (
            "**all**", f"{sum(line.times for line in every)}", f"{sum(line.acknowledged for line in every):,}",
            f"{sum(line.lost for line in every)}", f"{sum(line.doubled for line in every)}",
            f"{max((line.resumed for line in every), default=0):.1f}",
            f"{max((line.caught_up for line in every), default=0):.1f}",
        )  # fmt: skip
        return markdown(HEAD, [*rows, total])


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    body = [titles, ["---"] + ["---:"] * (len(titles) - 1), *map(list, rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in body)
