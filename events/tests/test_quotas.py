"""Quotas: a rate with a burst, and a number a day; exact whoever asks at the same time."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from events import buffer
from events.buffer import Outcome, Unit
from events.tests.conftest import Reply
from projects import quotas
from projects.services import CreatedProject


def unit(rows: int = 1) -> Unit:
    return buffer.unit(1, [b"{}"] * rows, 1_700_000_000_000)


def outcomes(client: redis.Redis, *units: Unit) -> list[Outcome]:
    return buffer.push(client, units).outcomes


def test_a_rate_allows_its_burst_and_then_says_when_to_come_again(valkey: redis.Redis, settings: Any) -> None:
    settings.EVENTS_QUOTA_PER_SECOND, settings.EVENTS_QUOTA_BURST = 1, 5
    found = outcomes(valkey, *[unit() for _ in range(7)])
    assert [one.code for one in found] == ["accepted"] * 5 + ["rate_limited"] * 2
    assert found[-1].wait_seconds == 1


def test_the_bucket_fills_again(valkey: redis.Redis, settings: Any) -> None:
    settings.EVENTS_QUOTA_PER_SECOND = 50
    outcomes(valkey, unit(50))
    assert outcomes(valkey, unit(5))[0].code == "rate_limited"
    deadline = Counter[str]()
    while outcomes(valkey, unit(5))[0].code != "accepted":
        deadline["tries"] += 1
        assert deadline["tries"] < 100_000


def test_a_request_larger_than_the_burst_is_taken_on_credit(valkey: redis.Redis, settings: Any) -> None:
    settings.EVENTS_QUOTA_PER_SECOND, settings.EVENTS_QUOTA_BURST = 10, 5
    large, next_one = outcomes(valkey, unit(50), unit(1))
    assert (large.code, next_one.code) == ("accepted", "rate_limited")
    assert next_one.wait_seconds == 5  # 45 in debt and one to come, at 10 a second


def test_a_day_has_its_number(valkey: redis.Redis, settings: Any) -> None:
    settings.EVENTS_QUOTA_PER_DAY = 10
    found = outcomes(valkey, unit(7), unit(4), unit(3), unit(1))
    assert [one.code for one in found] == ["accepted", "quota_exceeded", "accepted", "quota_exceeded"]


@pytest.mark.django_db
def test_a_project_may_have_its_own(valkey: redis.Redis, project: CreatedProject, settings: Any) -> None:
    settings.EVENTS_QUOTA_PER_DAY = 1
    project.project.quota_per_day = 3
    project.project.save()
    assert (quotas.rebuild(valkey), quotas.rebuild(valkey)) == (1, 0)
    rows = buffer.unit(project.project.pk, [b"{}"] * 3, 1_700_000_000_000)
    assert outcomes(valkey, rows)[0].code == "accepted"
    project.project.quota_per_day = None
    project.project.save()
    assert (quotas.rebuild(valkey), valkey.hlen(quotas.MIRROR)) == (1, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("send", ["edge"], indirect=True)
def test_concurrent_requests_are_refused_at_exactly_the_cap(
    post: Callable[..., Reply], valkey: redis.Redis, project: CreatedProject
) -> None:
    valkey.hset(quotas.MIRROR, str(project.project.pk), "0 0 100")
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.extend(post({"name": "a"}) for _ in range(10)))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(reply.status for reply in replies) == {202: 100, 429: 200}
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.json["code"] == "quota_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_flood_leaves_room_for_quiet_projects(valkey: redis.Redis, settings: Any) -> None:
    settings.EVENTS_QUEUE_MAX_EVENTS = 9_000
    refused: Counter[int] = Counter()
    for _ in range(200):
        for project_id in range(11):
            rows = [b"{}"] * (250 if project_id == 0 else 2)
            (outcome,) = outcomes(valkey, buffer.unit(project_id, rows, 1_700_000_000_000))
            refused[project_id] += not outcome.is_taken
        batch = buffer.claim(valkey, 0, max_events=200)  # drains less than comes
        buffer.ack(valkey, 0, batch.ids, events=batch.events)
    assert refused[0] > 50
    assert sum(refused.values()) == refused[0]
