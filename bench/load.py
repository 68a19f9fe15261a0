"""Load from wrk, and the bodies that it sends."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "wrk.lua"
LATE_SECONDS = 10
THREADS = 2
HOW_TO_GET_WRK = (
    "bench: wrk is needed and was not found. Debian, Ubuntu: apt install wrk. macOS: brew install wrk. "
    "Else https://github.com/wg/wrk"
)
SMALL_EVENT = {
    "name": "page_view",
    "user_id": "u-1042",
    "properties": {"path": "/pricing", "ref": "search", "ms": 182},
}

# As a shop sends them with what its SDK adds: 891 bytes.
NESTED_EVENT = {
    "name": "Order Completed",
    "user_id": "u-1042",
    "session_id": "s-77",
    "properties": {
        "order_id": "o-314798",
        "revenue": 3147.98,
        "currency": "CHF",
        "gift": False,
        "coupon": "",
        "products": [
            {"sku": f"SKU-{number}", "price": number / 100, "quantity": 1, "tags": ["new", None]}
            for number in (44794, 47992, 72536, 74552, 74924)
        ],
    },
    "context": {
        "ip": "2001:db8::1",
        "locale": "en-US",
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "page": {"url": "https://shop.example/?q=caf%C3%A9&x=1#top", "path": "/über-uns", "referrer": ""},
        "screen": {"width": 390, "height": 844, "density": 3.0},
        "library": {"name": "web", "version": "4.1.0"},
        "traits": {"plan": "pro", "logins": 546},
        "campaign": None,
    },
}


@dataclass(frozen=True)
class Answered:
    """What wrk saw. `broken` connections, `late` answers."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    non_2xx: int
    broken: int
    late: int
    own_cpu_seconds: float


def body(events: int, event: Mapping[str, Any] = SMALL_EVENT) -> bytes:
    """Returns one event (the small one: 98 bytes) or an array of them. Without ids: each request's are new."""
    return json.dumps(event if events == 1 else [event] * events, separators=(",", ":")).encode()


def require_wrk() -> None:
    """Ends the program with one line where there is no wrk; else lets it open 1,000 connections."""
    if shutil.which("wrk") is None:
        sys.exit(HOW_TO_GET_WRK)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def press(
    credentials: Mapping[str, Any], sent: bytes, *, connections: int, seconds: int, per_second: float = 0
) -> Answered:
    """Posts `sent` over keep-alive connections for some seconds, each as fast as it is answered, or all at a given rate."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.NamedTemporaryFile() as file:
        file.write(sent)
        file.flush()
        command = [
            "wrk",
            "--threads",
            str(THREADS),
            "--connections",
            str(connections),
            "--duration",
            f"{seconds}s",
        ]
        command += [
            "--timeout",
            f"{LATE_SECONDS}s",
            "--script",
            str(SCRIPT),
            f"{credentials['url']}/v1/events",
        ]
        env = {
            **os.environ,
            "BENCH_BODY": file.name,
            "BENCH_KEY": credentials["write_key"],
            "BENCH_PER_SECOND": str(per_second / THREADS),
        }
        output = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Answered(**json.loads(output.strip().splitlines()[-1]), own_cpu_seconds=cpu)
