"""Live events of a whole stack: from a POST to a reader, across the end of a web worker and of the stack."""

import json
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from systemtest.client import Client
from systemtest.live import Stream, project_of, token
from systemtest.stack import Stack, stack_in_clean_folder, wait

pytestmark = pytest.mark.slow

READERS = 40
SEEN_SECONDS = 2.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with stack_in_clean_folder() as stack:
        yield stack.start()


def post(stack: Stack, *named: str) -> None:
    client = Client(stack.credentials)
    body = json.dumps([{"name": name, "user_id": "u-7"} for name in named]).encode()
    assert client.post(body).status == 202
    client.close()


def test_an_event_is_seen_within_two_seconds_and_a_reader_goes_on_after_a_crash_and_a_restart(
    stack: Stack,
) -> None:
    login = token(stack.credentials)
    path = f"/api/projects/{project_of(stack.credentials, login)}/live/"

    def listen(last: str = "") -> Stream:
        return Stream(
            stack.credentials["url"],
            path,
            Authorization=f"Token {login}",
            **({"Last_Event_ID": last} if last else {}),
        )

    def names_of(stream: Stream) -> list[str]:
        event, data = stream.of("events", "gap")
        assert event == "events", data
        return [one["name"] for one in data["events"]]

    assert stack.valkey.keys("es:live*") == []
    readers = [listen().hello() for _ in range(READERS)]
    begin = time.monotonic()
    post(stack, "order_paid")
    assert [names_of(reader) for reader in readers] == [["order_paid"]] * READERS
    assert time.monotonic() - begin < SEEN_SECONDS

    with stack.unattended():  # no database connection is held for them
        (held,) = stack.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL OR backend_type = 'client backend'"
        )
        assert held[0] < READERS / 2

    worker = psutil.Process(stack.parts()["web"]).children()[-1]
    worker.send_signal(signal.SIGKILL)
    post_when_up(stack, "after_crash")
    again = listen(readers[0].last_id)
    assert names_of(again) == ["after_crash"]

    crowd = [listen().hello() for _ in range(READERS)]
    seconds = stack.stop()
    assert "refused to gracefully stop" not in stack.log("web")
    for reader in crowd:
        with pytest.raises(EOFError):
            reader.of("events", "gap")
    print(f"stopped with {READERS} readers in {seconds:.1f} s")

    stack.start()
    begun = listen(again.last_id).hello()
    post(stack, "after_restart")
    assert names_of(begun) == ["after_restart"]


def post_when_up(stack: Stack, name: str) -> None:
    def is_taken() -> bool:
        try:
            post(stack, name)
        except OSError:
            return False
        return True

    wait(is_taken, 15, "the web's next worker")
