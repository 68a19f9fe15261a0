"""What the processes of a running stack cost: CPU seconds and memory, by part."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SAMPLE_SECONDS = 1.0


class Processes:
    """The parts of the stack on a state directory, by the names that `make status` shows."""

    def __init__(self, var: Path) -> None:
        told = json.loads((var / "run" / "status.json").read_text())
        self._roots = {part["name"]: int(part["pid"]) for part in told["children"]}
        self._alone = [int(told["pid"]), int(told["sentinel"])]

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time so far, that of ended children included."""
        spent: dict[str, float] = {}
        for name, pid in self._roots.items():
            spent[name] = sum(_cpu_seconds(process) for process in _family(pid))
        return spent

    def pss_mb(self) -> float:
        """Memory of all of them, shared pages divided among those that share them (in 10^6 bytes)."""
        pids = [process.pid for pid in self._roots.values() for process in _family(pid)] + self._alone
        return sum(map(_pss_mb, pids))

    @contextmanager
    def highest_pss_mb(self) -> Iterator[list[float]]:
        """Samples the memory while the block runs; the yielded list holds the samples."""
        samples: list[float] = []
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                samples.append(self.pss_mb())

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield samples
        finally:
            ended.set()
            thread.join()


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _pss_mb(pid: int) -> float:
    with suppress(OSError, ValueError, IndexError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(rollup.split("\nPss:")[1].split()[0]) * 1024 / 1e6
    return 0.0
