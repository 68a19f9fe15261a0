"""Live events over HTTP: a real web server, the real drain."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import redis

from events import drain
from events.live import names, publish
from events.tests.conftest import queue
from projects import keyring, services
from systemtest.live import Stream


@pytest.fixture
def listen(
    edge_port: int,
    tables: None,
    valkey: redis.Redis,
    project: services.CreatedProject,
    make_key: Callable[..., Any],
) -> Iterator[Callable[..., Stream]]:
    publish._missed.clear()
    secret = make_key(project.project, "read").secret
    keyring.publish(valkey, list(project.project.keys.all()))
    opened = []

    def listen(query: str = "", *, last: str = "", key: str = secret, project_id: int = 0) -> Stream:
        path = f"/api/projects/{project_id or project.project.pk}/live/{query}"
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        opened.append(
            Stream(f"http://127.0.0.1:{edge_port}", path, **sent, **({"Last_Event_ID": last} if last else {}))
        )
        return opened[-1]

    yield listen
    for stream in opened:
        stream.close()


@pytest.fixture
def store(valkey: redis.Redis, project: services.CreatedProject) -> Callable[..., None]:
    def store(*named: str, **fields: Any) -> None:
        queue(valkey, [{"name": name} | fields for name in named], project_id=project.project.pk)
        drain.drain(valkey, 0)

    return store


Listen = Callable[..., Stream]
Store = Callable[..., None]


def shown(data: dict[str, Any]) -> list[str]:
    return [event["name"] for event in data["events"]]


def test_an_event_is_seen_soon_after_it_is_stored(listen: Listen, store: Store) -> None:
    stream = listen().hello()
    assert stream.response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
    begin = time.monotonic()
    store("order_paid", properties={"amount": 19.9}, user_id="u-1")
    _, data = stream.of("events")
    assert time.monotonic() - begin < 2
    assert (data["shown"], data["of"], data["unchecked"]) == (1, 1, 0)
    (event,) = data["events"]
    assert (event["name"], event["properties"], event["user_id"]) == ("order_paid", {"amount": 19.9}, "u-1")


def test_a_reader_that_comes_again_sees_what_it_missed_and_nothing_twice(
    listen: Listen, store: Store
) -> None:
    first = listen().hello()
    store("a")
    first.of("events")
    first.close()
    store("b", "c")
    second = listen(last=first.last_id)
    assert shown(second.of("events", "gap")[1]) == ["b", "c"]
    store("d")
    assert shown(second.of("events", "gap")[1]) == ["d"]


def test_what_the_stream_no_longer_holds_is_a_gap_with_its_count(
    listen: Listen, store: Store, monkeypatch: pytest.MonkeyPatch, edge_port: int
) -> None:
    first = listen().hello()
    place = first.last_id
    monkeypatch.setattr(names, "MAX_ENTRIES", 2)
    with frozen(edge_port):  # it would read all in time
        for number in range(5):
            store(f"n{number}", "x", "x")
    _, gap = first.of("gap")
    assert (gap, shown(first.of("events")[1])) == (
        {"count": 9, "why": ["trimmed"]},
        ["n3", "x", "x", "n4", "x", "x"],
    )
    first.close()
    again = listen(last=place)
    assert again.of("gap", "events") == ("gap", gap)


@pytest.mark.parametrize("last", ["1-1", "9999999999999-1", "garbage"])
def test_a_place_of_another_stream_is_a_gap_of_unknown_count(listen: Listen, store: Store, last: str) -> None:
    assert listen(last=last).of("gap", "events") == ("gap", {"count": None, "why": ["restarted"]})


def test_filters_and_counters(listen: Listen, store: Store) -> None:
    paid = listen("?name=paid&name=refunded&property.plan=pro").hello()
    store("paid", "view", "view", properties={"plan": "pro"})
    store("paid", properties={"plan": "free"})
    _, data = paid.of("events")
    assert (shown(data), data["of"]) == (["paid"], 1)
    counters: dict[str, Any] = {"total": 0}
    while counters["total"] < 4:
        _, counters = paid.of("counters")
    assert (counters["names"], counters["other"]) == ({"paid": 2, "view": 2}, 0)


def test_a_lost_valkey_is_a_gap_and_the_stream_goes_on(
    listen: Listen, store: Store, valkey: redis.Redis
) -> None:
    stream = listen().hello()
    keys = valkey.keys("es:live*")
    valkey.delete(*keys)  # as a Valkey without its data
    stream.of("gap")
    store("a")
    assert shown(stream.of("events")[1]) == ["a"]


def test_a_reader_that_reads_nothing_does_not_hold_up_the_others(listen: Listen, store: Store) -> None:
    listen().hello()
    other = listen().hello()
    for _ in range(3):
        store(*["a"] * 200, properties={"note": "x" * 1_500})
        _, data = other.of("events")
        assert data["of"] == 200


@pytest.mark.parametrize(("query", "field"), [("?nme=a", "nme"), ("?person=a&person=b", "person")])
def test_a_wrong_filter_is_refused_by_its_name(listen: Listen, query: str, field: str) -> None:
    response = listen(query).response
    assert (response.status, list(json.loads(response.read())["fields"])) == (400, [field])


def test_other_keys_and_other_projects_are_refused(
    listen: Listen, project: services.CreatedProject, valkey: redis.Redis
) -> None:
    assert listen(key="").response.status == 401
    assert listen(key="es_r_nonsense").response.status == 401
    assert listen(key=project.write_key).response.status in (401, 403)
    assert listen(project_id=project.project.pk + 1).response.status == 404
    assert valkey.keys("es:live*") == []


def test_a_member_reads_an_outsider_does_not_and_wsgi_cannot(
    project: services.CreatedProject, login: Callable[..., Any], make_user: Callable[..., Any]
) -> None:
    path = f"/api/projects/{project.project.pk}/live/"
    owner = login(project.project.memberships.first().user)
    assert (owner.get(path).status_code, owner.get(path).json()["code"]) == (501, "needs_asgi")
    assert login(make_user("eve")).get(path).status_code == 404
    assert login(None).get(path).status_code == 401


@contextmanager
def frozen(port: int) -> Iterator[None]:
    """The web server stands still."""
    sockets = psutil.net_connections("tcp")
    pids = {one.pid for one in sockets if one.status == "LISTEN" and one.laddr.port == port}
    processes = [psutil.Process(pid) for pid in pids]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    yield
    for process in processes:
        process.send_signal(signal.SIGCONT)
