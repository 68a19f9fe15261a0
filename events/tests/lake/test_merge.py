"""Segments become fewer and better, and hold the same rows as before."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.lake import duck, plan, publish, runs
from events.lake import merge as merge_stage
from events.lake.layout import lake_dir, number_column, text_column
from events.lake.merge import StepFailed, merge
from events.models import Segment
from events.tests.lake.pond import in_lake, in_table, odd_rows, put
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

SealAll, MergeAll = Callable[[], int], Callable[..., list[str]]
DAY = timedelta(days=1)


def live() -> list[Segment]:
    return list(Segment.objects.filter(retired_at=None).order_by("id"))


def later(**time: float) -> datetime:
    return datetime.now(UTC) + timedelta(**time)


@pytest.fixture
def projects(make_project: Callable[..., Any]) -> list[int]:
    return [make_project(name=f"P{n}").project.pk for n in range(3)]


def of(projects: list[int], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"project_id": projects[row["project_id"] - 1]} for row in rows]


def test_rows_stay_the_same_through_every_kind_of_step(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll
) -> None:
    for n in range(plan.FAN_IN):
        put(of(projects, odd_rows(100, seed=n)))
        seal_all()
    kinds = merge_all()
    assert kinds == ["shared"]
    assert in_lake() == in_table()
    for days in (1, 3, 40):
        kinds += merge_all(later(days=days))
        assert in_lake() == in_table()
    assert {"close", "month"} <= set(kinds)
    assert {segment.project_id for segment in live()} == set(projects)


def test_a_project_with_enough_rows_leaves_the_shared_file(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "DAY_ROWS", 80)
    today, yesterday = datetime.now(UTC), datetime.now(UTC) - DAY
    for _ in range(plan.FAN_IN):
        put([{"project_id": projects[0], "occurred_at": today, "properties": {"plan": "a", "n": 1}}] * 10)
        put([{"project_id": projects[1], "occurred_at": at} for at in (today, yesterday)] * 5)
        seal_all()
    merge_all()
    own, shared = live()
    assert (own.project_id, own.rows, own.first_day, own.last_day) == (
        projects[0],
        80,
        today.date(),
        today.date(),
    )
    assert own.path.startswith(f"lake/project={projects[0]}/day={today.date()}/")
    assert (own.columns, own.is_complete) == (
        {"n": {"s": True, "n": True}, "plan": {"s": True, "n": False}},
        True,
    )
    assert (shared.project_id, shared.project_rows, shared.level) == (None, {str(projects[1]): 80}, 1)
    assert {row[0] for row in in_lake(text_column("plan"), segments=[own])} == {"a"}
    assert {row[0] for row in in_lake(number_column("n"), segments=[own])} == {1.0}
    assert in_lake() == in_table()


def test_few_but_large_rows_leave_the_shared_file_too(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_stage, "ENOUGH_SIZE", 20_000)
    for n in range(plan.FAN_IN):
        put([{"project_id": projects[0], "properties": {"long": f"{n}{random.randbytes(400).hex()}"}}] * 3)
        put([{"project_id": projects[1]}])
        seal_all()
    merge_all()
    own, shared = live()
    assert (own.project_id, own.rows) == (projects[0], 24)
    assert shared.project_rows == {str(projects[1]): 8}
    assert in_lake() == in_table()


def test_late_events_come_to_their_own_day(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll
) -> None:
    days = [datetime.now(UTC) - n * DAY for n in range(3)]
    put([{"project_id": projects[0], "occurred_at": at} for at in days] * 2)
    seal_all()
    merge_all(later(hours=2))
    found = {(segment.project_id, segment.first_day, segment.last_day, segment.rows) for segment in live()}
    assert {(projects[0], day.date(), day.date(), 2) for day in days[1:]} <= found
    assert in_lake() == in_table()


def test_many_projects_with_few_rows_stay_together_when_their_day_is_over(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "GROUPS", 2)
    monkeypatch.setattr(plan, "QUIET_ROWS", 50)
    put([{"project_id": key, "occurred_at": datetime.now(UTC) - 2 * DAY} for key in projects] * 10)
    put([{"project_id": projects[2], "occurred_at": datetime.now(UTC) - 2 * DAY}] * 60)
    seal_all()
    assert merge_all(later(hours=2)) == ["close"]
    assert [(segment.project_id, segment.rows, segment.level) for segment in live()] == [
        (projects[2], 70, 1), (None, 20, plan.SETTLED),
    ]  # fmt: skip
    assert merge_all(later(days=2)) == []
    assert in_lake() == in_table()


def test_rows_of_projects_that_are_no_more_are_left_out(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll
) -> None:
    for _ in range(plan.FAN_IN):
        put([{"project_id": key} for key in projects])
        seal_all()
    Project.objects.filter(pk=projects[0]).delete()
    merge_all()
    assert {row[0] for row in in_lake("project_id")} == set(projects[1:])


def test_what_somebody_else_replaced_meanwhile_makes_the_step_void(
    projects: list[int], seal_all: SealAll
) -> None:
    for _ in range(plan.FAN_IN):
        put([{"project_id": projects[0]}])
        seal_all()

    def erase(step: str) -> None:
        if step == "written":
            publish.publish([], retire=[live()[0].pk])

    before = set(lake_dir().rglob("*.parquet"))
    assert merge(reached=erase) is None
    assert len(live()) == plan.FAN_IN - 1
    assert set(lake_dir().rglob("*.parquet")) == before


def test_sealing_goes_on_while_a_step_is_at_work(projects: list[int], seal_all: SealAll) -> None:
    for _ in range(plan.FAN_IN):
        put([{"project_id": projects[0]}])
        seal_all()
    sealed = []

    def seal_meanwhile(step: str) -> None:
        if step == "written":
            from threading import Thread

            from django.db import connections

            from events.lake.seal import seal

            def work() -> None:
                put([{"project_id": projects[1]}])
                sealed.append(seal())
                connections.close_all()

            thread = Thread(target=work)
            thread.start()
            thread.join(20)

    assert merge(reached=seal_meanwhile) is not None
    assert [one.rows for one in sealed] == [1]
    assert in_lake() == in_table()


def test_a_file_that_cannot_be_read_names_its_step_and_the_others_go_on(
    projects: list[int], seal_all: SealAll
) -> None:
    for _ in range(plan.FAN_IN + 1):
        put([{"project_id": projects[0]}])
        seal_all()
    broken = live()[0]
    path = lake_dir() / broken.path
    path.chmod(0o600)
    path.write_bytes(b"PAR1 this is none PAR1")
    with pytest.raises(StepFailed) as failed:
        merge()
    assert broken.pk in failed.value.ids
    assert merge(without=frozenset([broken.pk])) is not None


def test_rows_too_large_for_the_usual_memory_are_merged_with_more(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_stage.duck, "MEMORY", "8MB")
    for n in range(plan.FAN_IN):
        put({"project_id": projects[0], "properties": {"long": f"{n}{m}" * 100_000}} for m in range(5))
        seal_all()
    merge_all(later(days=2))
    assert len(live()) == 1
    assert in_lake() == in_table()


@pytest.mark.parametrize(
    "bounds", [{"SORT_BYTES": 1, "RUN_BYTES": 8_000}, {"SORT_ROWS": 1}], ids=["runs", "places"]
)
@pytest.mark.parametrize(("later_days", "at_once"), [(0, 8), (2, 8), (2, 0)])
@pytest.mark.parametrize("same", [(), ("project_id", "name"), ("project_id", "name", "occurred_at")])
def test_rows_are_in_order_however_they_were_sorted_and_none_is_lost(
    projects: list[int],
    seal_all: SealAll,
    merge_all: MergeAll,
    monkeypatch: pytest.MonkeyPatch,
    same: Sequence[str],
    later_days: int,
    at_once: int,
    bounds: dict[str, int],
) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(runs, name, value)
    monkeypatch.setattr(merge_stage, "AT_ONCE", at_once)
    alike = odd_rows(1, seed=1)[0]
    for seed in range(plan.FAN_IN):
        put(of(projects, [row | {key: alike[key] for key in same} for row in odd_rows(60, seed=seed)]))
        seal_all()
    assert merge_all(later(days=later_days))
    assert in_lake() == in_table()
    for segment in live():
        path = str(lake_dir() / segment.path)
        with duck.connect() as reader:
            rows = reader.execute(
                "SELECT project_id, name, occurred_at, id FROM read_parquet(?)", [path]
            ).fetchall()
        assert rows == sorted(rows)
    assert not list((lake_dir() / "tmp").glob("*.parquet"))
