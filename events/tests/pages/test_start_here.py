"""Start here: what became of the first event, in each of its states, and snippets that are what they say."""

import json
import shlex
from collections import Counter
from datetime import UTC, datetime

import pytest

from events import buffer, drain, ledger
from events.models import DeadLetter, Ledger
from events.tests.conftest import queue
from events.tests.pages.conftest import Shop, browser
from events.views.snippets import NO_KEY, snippets
from events.views.start_here import first


def test_it_waits_then_holds_then_is_stored(shop: Shop, tables, valkey) -> None:
    client = browser(shop.owner)
    assert (first(shop.project).state, client.get(shop.path("start/first")).status_code) == ("waiting", 200)
    queue(valkey, {"name": "signed_up", "id": "order-1"}, project_id=shop.project.pk)
    assert first(shop.project).state == "queued"
    drain.drain(valkey, 0)
    found = first(shop.project)
    answer = client.get(shop.path("start/first"))
    assert (found.state, answer.status_code) == ("stored", 286)  # htmx stops asking
    assert 0 <= found.seconds < 60
    assert "order-1" in answer.content.decode()
    assert "hx-trigger" not in answer.content.decode()


def test_a_refused_attempt_says_why(shop: Shop, valkey) -> None:
    this_hour = int(datetime.now(UTC).timestamp()) // 3600
    buffer.count_rejected(valkey, Counter({(shop.project.pk, this_hour, "blank"): 2}))
    ledger.copy(valkey)
    html = browser(shop.owner).get(shop.path("start/first")).content.decode()
    assert "the name must not be blank" in html
    assert "2 events" in html


def test_a_queue_that_is_away_is_told(shop: Shop, services) -> None:
    services.valkey.stop()
    assert "The queue does not answer" in browser(shop.owner).get(shop.path("start/first")).content.decode()


def test_a_member_gets_snippets_without_a_key(shop: Shop) -> None:
    html = browser(shop.member).get(shop.path("start")).content.decode()
    assert NO_KEY in html
    assert "Make a key" not in html


@pytest.mark.parametrize("language", ["curl", "python", "node", "browser"])
def test_a_snippet_holds_address_and_key(language: str, settings) -> None:
    code = next(snippet.code for snippet in snippets("es_w_secret") if snippet.id == language)
    assert f"{settings.PUBLIC_URL}/v1/events" in code
    assert "es_w_secret" in code
    assert "signed_up" in code


def test_the_curl_line_is_a_shell_line_and_python_compiles() -> None:
    made = {snippet.id: snippet.code for snippet in snippets("es_w_secret")}
    words = shlex.split(made["curl"].replace("\\\n", ""))
    assert json.loads(words[words.index("-d") + 1])["name"] == "signed_up"
    compile(made["python"], "first.py", "exec")


def test_letters_alone_are_told_as_such(shop: Shop, valkey) -> None:
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    Ledger.objects.create(project=shop.project, hour=this_hour, accepted=1, dead=1)
    assert first(shop.project).state == "lost"
    assert not DeadLetter.objects.exists()
