"""What accept and buffer count for /metrics: gathered in plain numbers, and poured into the metrics once a second."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from events.codes import Code
from eventsite import metrics

TAKEN: Final = "taken"
UNCONFIRMED: Final = "unconfirmed"
POUR_SECONDS: Final = 1.0
ONE_IN: Final = 16  # requests, of which one is timed: two looks at the clock are 1 % of it
# The queue refused these; whatever else is refused, accept refused.
BACKPRESSURE: Final = frozenset(
    (Code.RATE_LIMITED, Code.QUOTA_EXCEEDED, Code.PROJECT_BACKLOG, Code.QUEUE_FULL)
)


@dataclass(slots=True)
class Pushes:
    """What pushes did since this was last poured into the metrics: adding to plain numbers costs a request nothing.

    `events`: by outcome, that is "taken", the queue's code, or "unconfirmed" where it did not answer. `accept_seconds`
    holds what one request in ONE_IN took before; `seconds` one number for each push.
    """

    events: Counter[str] = field(default_factory=Counter)
    taken_requests: int = 0
    accept_seconds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def pour(self) -> None:
        total = self.events.total()
        metrics.EVENTS_IN.labels("accept").inc(total)
        metrics.EVENTS_OUT.labels("accept", TAKEN).inc(total)
        metrics.EVENTS_IN.labels("buffer").inc(total)
        for outcome, number in self.events.items():
            metrics.EVENTS_OUT.labels("buffer", outcome).inc(number)
        metrics.REQUESTS.labels(TAKEN).inc(self.taken_requests)
        for stage, measured in (("accept", self.accept_seconds), ("buffer", self.seconds)):
            of_stage = metrics.STAGE_SECONDS.labels(stage)
            for seconds in measured:
                of_stage.observe(seconds)
        self.events, self.taken_requests, self.accept_seconds, self.seconds = Counter(), 0, [], []


def count_refused_events(events: Counter[str]) -> None:
    """Counts events that were refused, by code."""
    for code, number in events.items():
        metrics.REFUSED_EVENTS.labels(code).inc(number)
    if by_accept := sum(number for code, number in events.items() if code not in BACKPRESSURE):
        metrics.EVENTS_IN.labels("accept").inc(by_accept)
        metrics.EVENTS_OUT.labels("accept", "refused").inc(by_accept)


def count_refused_requests(requests: Counter[str]) -> None:
    """Counts requests of which nothing was taken, by code."""
    for code, number in requests.items():
        metrics.REFUSED_REQUESTS.labels(code).inc(number)
    if requests:
        metrics.REQUESTS.labels("refused").inc(requests.total())
