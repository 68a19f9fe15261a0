"""Every metric there is, declared here and nowhere else: what the processes count, and what is read when asked.

Counted ones lie in files that the stack's processes share, so that `/metrics` of the web process covers workers too.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from django.conf import settings
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from eventsite import state

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
FILE_BYTES: Final = 1 << 16  # what the library maps at first; all our metrics take a third of it

log = logging.getLogger(__name__)
_own = CollectorRegistry()

# --- what processes count ---------------------------------------------------------------------------------

REQUESTS = Counter(
    "eventsite_requests", "Ingest requests answered: taken (202) or refused.", ["outcome"], registry=_own
)
REFUSED_REQUESTS = Counter(
    "eventsite_refused_requests",
    "Ingest requests of which nothing was taken, by code.",
    ["code"],
    registry=_own,
)
REFUSED_EVENTS = Counter(
    "eventsite_refused_events", "Events refused, each told to its client, by code.", ["code"], registry=_own
)
EVENTS_IN = Counter(
    "eventsite_stage_in_events",
    "Events that came to a stage: accept, buffer, drain, store.",
    ["stage"],
    registry=_own,
)
EVENTS_OUT = Counter(
    "eventsite_stage_out_events", "Events that left a stage, by what became of them.", ["stage", "outcome"],
    registry=_own,
)  # fmt: skip
STAGE_SECONDS = Histogram(
    "eventsite_stage_seconds",
    "Time of reading one request in 16 (accept), one push (buffer), run (drain), batch (store), tick, file (seal), step (merge).",
    ["stage"],
    buckets=(
        0.0001,
        0.00025,
        0.0005,
        0.001,
        0.0025,
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1,
        2.5,
        5,
        10,
        15,
    ),
    registry=_own,
)
BATCHES = Counter("eventsite_drain_runs", "Drain runs, by outcome.", ["outcome"], registry=_own)
LAKE_FAILURES = Counter(
    "eventsite_lake_failures",
    "Seals and merges that failed, by cause; what they concern is tried again.",
    ["cause"],
    registry=_own,
)

# --- what is read when somebody asks; absent while the server that knows it is away --------------------------

GAUGES: Final[dict[str, str]] = {
    "eventsite_queue_events": "Events held, claimed but unfinished ones included.",
    "eventsite_queue_bytes": "Bytes of events held.",
    "eventsite_queue_max_events": "The queue's bound in events.",
    "eventsite_queue_max_bytes": "The queue's bound in bytes.",
    "eventsite_queue_oldest_seconds": "Age of the oldest entry held; 0 when nothing is.",
    "eventsite_queue_drained_per_second": "Moving average of events drained a second while there is a backlog.",
    "eventsite_queue_idle_seconds": "Time since the last batch was drained.",
    "eventsite_queue_accepted_events": "Events accepted as the push script counts them, of the latest two to three hours.",
    "eventsite_drain_paused": "1 while draining is paused.",
    "eventsite_drain_slots": "Slots.",
    "eventsite_drain_held_slots": "Slots on hold: their batch waits for a retry or for the database.",
    "eventsite_drain_messages": "Doorbells in Celery's list that no worker took yet.",
    "eventsite_tick_age_seconds": "Time since the last tick came.",
    "eventsite_ledger_difference": "Events that an hour of a project does not account for; one 0 without labels if all balance.",
    "eventsite_alarm": "1 for each alarm that stands.",
    "eventsite_default_partition_rows": "Rows in the default partition, which ought to be empty; counted up to 10,000.",
    "eventsite_lake_lag_seconds": "Age of the oldest stored batch that is not in the lake yet; 0 when all are.",
    "eventsite_lake_unsealed_events": "Stored events that are not in the lake yet.",
    "eventsite_lake_segments": "Live files of the lake, by kind: shared, project.",
    "eventsite_lake_rows": "Events in the lake's live files.",
    "eventsite_lake_bytes": "Bytes of the lake's live files.",
}
COUNTERS: Final[dict[str, str]] = {
    "eventsite_queue_drained_events": "Events drained since the queue was made.",
}

Labels = tuple[tuple[str, str], ...]
Readings = Mapping[tuple[str, Labels], float]  # name and labels -> value


class _Read(Collector):
    """Readings in the form of the library. An undeclared name is a KeyError."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for (name, labels), value in self._readings.items():
            if name not in families:
                families[name] = (
                    CounterMetricFamily(name, COUNTERS[name])
                    if name in COUNTERS
                    else GaugeMetricFamily(name, GAUGES[name])
                )
            sample = f"{name}_total" if name in COUNTERS else name
            families[name].add_sample(sample, dict(labels), value)
        return families.values()


def exposition(readings: Readings) -> bytes:
    """Returns all counted metrics and these readings in Prometheus' text format."""
    registry = CollectorRegistry()
    if _shared is None:
        registry.register(_own)
    else:
        MultiProcessCollector(registry, path=str(_shared))  # type: ignore[no-untyped-call]
    registry.register(_Read(readings))
    return generate_latest(registry)


def counted() -> list[tuple[str, dict[str, str], float]] | None:
    """Returns what all processes counted: sample name, labels, value. None where this process shares nothing."""
    if _shared is None:
        return None
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(_shared))  # type: ignore[no-untyped-call]
    families = registry.collect()
    return [(one.name, dict(one.labels), one.value) for family in families for one in family.samples]


# --- sharing ------------------------------------------------------------------------------------------------------

_shared: Path | None = None
_name: str | None = None


def share(*, name: str | None = None) -> None:
    """From now on this process counts in files of the state directory, named by its process id.

    Or by `name`, of which no two live at once: then its successor goes on in the same file, and a worker whose
    children come and go leaves few. To be called before anything is counted. Files that cannot be made cost the
    figures of this process, nothing else.
    """
    global _shared, _name
    directory = state.places(settings.VAR_DIR).metrics
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for kind in ("counter", "histogram"):
            _reserve(directory / f"{kind}_{name or os.getpid()}.db")
    except OSError as error:
        log.warning("what this process counts is not in /metrics: %s", error.strerror)
        return
    _shared, _name = directory, name
    os.environ[DIRECTORY_VARIABLE] = str(directory)
    values.ValueClass = values.MultiProcessValue(_identity)  # type: ignore[no-untyped-call]


def _reserve(path: Path) -> None:
    """Takes the file's space now: a mapped file that finds the disk full kills its process."""
    if path.exists():
        return
    try:
        path.touch(mode=0o600)
        path.write_bytes(bytes(FILE_BYTES))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _identity() -> str | int:
    return _name or os.getpid()
