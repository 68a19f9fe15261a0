"""Questions over HTTP: who may ask, how answers and refusals look, what is kept, what happens when files or the process go."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from rest_framework.test import APIClient

from events.insights import ask, errors
from events.insights.kinds import KINDS
from events.insights_api import refusal
from events.lake.snapshot import Snapshot, snapshot
from events.tests.insights.seeded import Seeded
from projects import keyring, services
from projects.models import Membership, Project

YEAR = {"period": {"from": "2026-01-01", "until": "2027-01-01"}, "interval": None}
pytestmark = pytest.mark.usefixtures("seeded_questions")


def address(project_id: int, kind: str = "trends") -> str:
    return f"/api/projects/{project_id}/insights/{kind}/"


@pytest.fixture
def by_key(seeded: Seeded, valkey: redis.Redis) -> Callable[..., APIClient]:
    def by_key(kind: str = "read", project: Project = seeded.project) -> APIClient:
        created = services.create_key(project=project, kind=kind)
        keyring.rebuild(valkey)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {created.secret}")
        return client

    return by_key


def test_a_read_key_and_a_member_get_the_answer(
    seeded: Seeded,
    by_key: Callable[..., APIClient],
    login: Callable[..., APIClient],
    make_user: Callable[..., Any],
) -> None:
    member = make_user("bob")
    Membership.objects.create(project=seeded.project, user=member, role="member")
    for client in (by_key(), login(member)):
        body = client.post(address(seeded.project.pk), YEAR).json()
        assert body["series"] == [
            {
                "label": "any event",
                "name": None,
                "measure": "count",
                "total": len(seeded.events),
                "values": None,
            }
        ]
        assert {"as_of", "lag_seconds", "rows_scanned", "seconds", "cached"} < set(body)


def test_nobody_else_gets_one(
    seeded: Seeded, by_key: Callable[..., APIClient], login: Callable[..., APIClient],
    make_user: Callable[..., Any], make_project: Callable[..., Any],
) -> None:  # fmt: skip
    other = make_project().project
    tried = [
        (APIClient(), seeded.project.pk, 401),
        (login(make_user("eve")), seeded.project.pk, 404),
        (by_key("write"), seeded.project.pk, 403),
        (by_key("read", other), seeded.project.pk, 404),
        (by_key(), other.pk, 404),
        (by_key(), 9_999_999_999_999_999_999, 404),
    ]
    for client, project_id, status in tried:
        for response in (client.post(address(project_id), YEAR), client.get(address(project_id))):
            assert response.status_code == status
            assert response.json()["code"]


def test_a_get_asks_the_same(seeded: Seeded, by_key: Callable[..., APIClient]) -> None:
    asked = {
        "name": "page_view", "measure": {"kind": "p90", "property": "amount"}, "time_zone": "Europe/Berlin",
        "period": {"from": "2026-10-20", "until": "2026-10-28"}, "interval": "day",
        "where": {"property": "plan", "op": "in", "value": ["free", 1]},
    }  # fmt: skip
    client = by_key()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked.items()}
    got, posted = (
        client.get(f"{address(seeded.project.pk)}?{urlencode(texts)}"),
        client.post(address(seeded.project.pk), asked),
    )
    assert got.json()["series"] == posted.json()["series"]
    assert posted.json()["cached"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("interval=eon", "interval"), ("period={", "period"), ("name=%00", "name"), ("limit=5", "limit"),
        ("name=%22%5Cud800%22", "name"), ("ratio=[[[[", "ratio"), ("where=" + "[" * 5_000, "where"),
        ("where=" + "[" * 900 + "]" * 900, "where"), ("name=NaN", "name"),
    ],
)  # fmt: skip
def test_a_bad_question_is_a_400_with_its_field(
    seeded: Seeded, by_key: Callable[..., APIClient], query: str, field: str
) -> None:
    response = by_key().get(f"{address(seeded.project.pk)}?{query}")
    assert response.status_code == 400
    assert [name.partition("[")[0] for name in response.json()["fields"]] == [field]
    assert response.json()["code"] == "invalid"


def test_a_kind_that_there_is_not_is_a_404(seeded: Seeded, by_key: Callable[..., APIClient]) -> None:
    assert by_key().post(address(seeded.project.pk, "horoscope"), {}).status_code == 404


def test_the_project_s_time_zone_is_the_default(seeded: Seeded, by_key: Callable[..., APIClient]) -> None:
    Project.objects.filter(pk=seeded.project.pk).update(time_zone="Asia/Kathmandu")
    body = by_key().post(address(seeded.project.pk), {"period": {"last": "1d"}, "interval": None}).json()
    assert body["period"]["time_zone"] == "Asia/Kathmandu"
    assert body["period"]["from"].endswith("T00:00:00+05:45")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.TooSlow(), 400, "question_too_large"),
        (errors.TooLarge(), 400, "question_too_large"),
        (errors.TooManyRows(), 400, "question_too_large"),
        (errors.Invalid("Out of Range Error"), 400, "invalid"),
        (errors.BadQuestion("period", "no"), 400, "invalid"),
        (errors.Busy(), 503, "unavailable"),
        (errors.Away(), 503, "unavailable"),
        (errors.FileMissing(), 503, "unavailable"),
    ],
)
def test_every_way_to_fail_has_its_answer(error: errors.QuestionError, status: int, code: str) -> None:
    refused = refusal(error, "trends")
    assert (refused.status_code, refused.default_code if status == 503 else refused.get_codes()) in [
        (status, code), (status, {"period": [code]}), (status, {"body": [code]}),
    ]  # fmt: skip


def test_a_process_that_is_away_is_a_503_that_says_when_to_come_again(
    seeded: Seeded, by_key: Callable[..., APIClient], settings: Any, tmp_path: Path
) -> None:
    client = by_key()
    settings.VAR_DIR = tmp_path
    response = client.post(address(seeded.project.pk), YEAR)
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response["Retry-After"]


def test_a_file_that_was_replaced_meanwhile_is_looked_up_once_more(
    seeded: Seeded, by_key: Callable[..., APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window: between the snapshot and the opening of its files."""
    taken: list[Snapshot] = []

    def stale_at_first(*args: Any, **options: Any) -> Snapshot:
        taken.append(snapshot(*args, **options))
        gone = [replace(file, path=file.path.with_name("gone.parquet")) for file in taken[0].files]
        return replace(taken[0], files=tuple(gone)) if len(taken) == 1 else taken[-1]

    monkeypatch.setattr(ask, "snapshot", stale_at_first)
    body = by_key().post(address(seeded.project.pk), YEAR).json()
    assert body["series"][0]["total"] == body["rows_scanned"] == len(seeded.events)
    assert len(taken) == 2


def test_answers_kept_are_bounded_by_bytes() -> None:
    kept = ask.Kept(max_bytes=1_000)
    for number in range(100):
        kept.put(b"%d" % number, ["x"], [["y" * 100]])
    assert kept.get(b"0") is None
    assert kept.get(b"99") is not None
    assert sum(kept.get(b"%d" % number) is not None for number in range(100)) < 10


def test_the_schema_has_every_kind_with_its_types_and_examples(client: Any, db: None) -> None:
    document = client.get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json").json()
    operation = document["paths"]["/api/projects/{project_id}/insights/trends/"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/TrendsQuestion"}
    assert len(content["examples"]) >= 4
    assert {"400", "401", "403", "404", "503"} < set(operation["responses"])
    assert {"Filter", "PeriodQuestion", "TrendsQuestion"} < set(document["components"]["schemas"])


def test_the_examples_in_the_schema_are_right(seeded: Seeded, by_key: Callable[..., APIClient]) -> None:
    client = by_key()
    for kind in KINDS.values():
        for title, asked in kind.examples.items():
            response = client.post(address(seeded.project.pk, kind.name), asked)
            assert response.status_code == 200, (kind.name, title, response.content)
