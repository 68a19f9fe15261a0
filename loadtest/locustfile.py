"""One user: an application that sends an event, waits for the answer, pauses, and sends the next over the same connection.

Run by `python -m loadtest`, which says by LOADTEST_* what to send and where to write what came of it.
"""

import json
import os
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant_pacing, events, task
from locust.env import Environment

KEY = os.environ["LOADTEST_KEY"]
OUTPUT = Path(os.environ["LOADTEST_OUTPUT"])
EVERY_SECONDS = float(os.environ["LOADTEST_EVERY"])
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

answers: Counter[int] = Counter()
wrong_refusals: Counter[str] = Counter()  # without a Retry-After of 1 to 60 s
acknowledged: list[str] = []


class Application(FastHttpUser):
    wait_time = constant_pacing(EVERY_SECONDS)
    connection_timeout = network_timeout = 20.0
    max_retries = 0

    @task
    def send(self) -> None:
        event_id = str(uuid.uuid4())
        event = {
            "id": event_id,
            "name": "page_view",
            "user_id": "u-1042",
            "properties": {"path": "/pricing", "ms": 182},
        }
        with self.client.post(
            "/v1/events", data=json.dumps(event), headers=HEADERS, catch_response=True
        ) as answer:
            answers[answer.status_code] += 1
            if answer.status_code == 202:
                acknowledged.append(event_id)
            elif answer.status_code in (429, 503):
                retry_after = (answer.headers or {}).get("Retry-After", "")
                if not retry_after.isdigit() or not 1 <= int(retry_after) <= 60:
                    wrong_refusals[retry_after] += 1
                answer.success()  # refused is an answer, and counted on its own
            else:
                answer.failure(f"{answer.status_code}")


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def write_down(environment: Environment, **_: Any) -> None:
    total = environment.stats.total
    told = {
        "requests": total.num_requests,
        "begin": total.start_time,
        "end": total.last_request_timestamp or total.start_time,
        "p50_ms": total.get_response_time_percentile(0.50),
        "p99_ms": total.get_response_time_percentile(0.99),
        "errors": total.num_failures,
        "refused": answers[429] + answers[503],
        "wrong_refusals": dict(wrong_refusals),
        "acknowledged": acknowledged,
    }
    OUTPUT.write_text(json.dumps(told))
