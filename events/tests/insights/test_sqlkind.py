"""The kind `sql` from question to answer, over a lake with files of every sort."""

import pytest
from django.conf import settings
from pytest_django.fixtures import Settings

from events.insights.ask import ask
from events.insights.errors import BadQuestion, TooManyRows, TooSlow
from events.insights.kinds import KINDS
from events.tests.insights.seeded import Seeded
from events.tests.insights.test_process import ENDLESS

pytestmark = pytest.mark.usefixtures("questions")
SQL = KINDS["sql"]


def test_it_sees_every_event_of_the_project_and_no_other(seeded: Seeded) -> None:
    answer = ask(seeded.project, SQL, {"sql": "SELECT count(*), count(DISTINCT event_id) FROM events"})
    assert answer["rows"] == [[len(seeded.events), len(seeded.events)]] and answer["as_of"]
    answer = ask(seeded.project, SQL, {"sql": "SELECT name, count(*) FROM events GROUP BY ALL"})
    names = [event.name for event in seeded.events]
    assert dict(map(tuple, answer["rows"])) == {name: names.count(name) for name in names}


def test_a_limit_cuts_and_without_one_too_many_rows_are_refused(seeded: Seeded, settings: Settings) -> None:
    settings.EVENTS_QUESTION_ROWS = 10
    answer = ask(seeded.project, SQL, {"sql": "FROM events", "limit": 3})
    assert len(answer["rows"]) == 3 and answer["is_cut"]
    with pytest.raises(TooManyRows):
        ask(seeded.project, SQL, {"sql": "FROM events"})


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"sql": "SELECT * FROM read_text('/etc/passwd')"}, "sql"),
        ({"sql": "selec"}, "sql"),
        ({"sql": ""}, "sql"),
        ({"sql": "SELECT 1" + " " * 20_000}, "sql"),
        ({"sql": "SELECT 1", "limit": settings.EVENTS_QUESTION_ROWS + 1}, "limit"),
        ({"sql": "SELECT 1", "limit": 0}, "limit"),
        ({"sql": "SELECT 1", "project_id": 2}, "project_id"),
    ],
)
def test_what_is_wrong_is_named(seeded: Seeded, question: dict[str, object], field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(seeded.project, SQL, question)
    assert refused.value.field == field


def test_the_time_limit_of_the_settings_holds(seeded: Seeded, settings: Settings) -> None:
    settings.EVENTS_QUESTION_SECONDS = 0.3
    with pytest.raises(TooSlow):
        ask(seeded.project, SQL, {"sql": ENDLESS})
