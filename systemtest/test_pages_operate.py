"""Failures and Pipeline in a real browser: bury, edit and replay one; mend a group by a rule; pause and resume."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from systemtest.barriers import barriers, layout_shift
from systemtest.browser import PHONE, chromium, tab, window
from systemtest.stack import Stack, stack_in_clean_folder, wait

pytestmark = pytest.mark.slow

REFUSE = (
    "ALTER TABLE events_event ADD CONSTRAINT amount_is_number"
    " CHECK (jsonb_typeof(properties -> 'amount') IS DISTINCT FROM 'string')"
)
LETTERS = "SELECT count(*) FROM events_deadletter WHERE state = 'waiting'"
STORED = (
    "SELECT count(*) FROM events_event WHERE name = %s AND jsonb_typeof(properties -> 'amount') = 'number'"
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Its table refuses amounts that are texts."""
    with stack_in_clean_folder() as stack:
        stack.start()
        with psycopg2.connect(stack.credentials["database_url"]) as database, database.cursor() as cursor:
            cursor.execute(REFUSE)
        database.close()
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(stack: Stack, browser: Browser) -> Iterator[BrowserContext]:
    with window(browser) as shown:
        shown.open(stack.credentials["url"])
        shown.page.get_by_label("User name").fill(stack.credentials["admin_user"])
        shown.page.get_by_label("Password").fill(stack.credentials["admin_password"])
        shown.page.get_by_role("button", name="Sign in").click()
        expect(shown.page.get_by_role("heading", name="Projects")).to_be_visible()
        yield shown.page.context


def url(stack: Stack, path: str) -> str:
    return f"{stack.credentials['url']}/projects/{stack.credentials['project_id']}/{path}"


def bury(stack: Stack, name: str, *amounts: Any) -> None:
    """Sends events that the table refuses, and waits until all of them are dead letters."""
    events = [{"name": name, "id": f"{name}-{n}", "properties": {"amount": a}} for n, a in enumerate(amounts)]
    before = waiting(stack)
    headers = {
        "Authorization": f"Bearer {stack.credentials['write_key']}",
        "Content-Type": "application/json",
    }
    address = f"{stack.credentials['url']}/v1/events"
    urllib.request.urlopen(urllib.request.Request(address, json.dumps(events).encode(), headers)).close()
    wait(lambda: waiting(stack) == before + len(events), 15.0, "the events to be buried")


def waiting(stack: Stack) -> int:
    return int(stack.ask(LETTERS)[0][0])


def stored(stack: Stack, name: str) -> int:
    return int(stack.ask(STORED, name)[0][0])


def test_one_is_edited_while_it_is_checked_and_sent_again(stack: Stack, signed_in: BrowserContext) -> None:
    bury(stack, "edited", "19.90")
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "failures?name=edited"))
        page.keyboard.press("j")  # to the row, whose keys these are then
        page.keyboard.press("e")
        expect(page.locator(".leaf.marked")).to_contain_text("amount")
        page.keyboard.press("e")
        expect(page.locator("#verdict")).to_contain_text("Would be buried again")
        text = page.get_by_label("The event as JSON")
        good = text.input_value().replace('"19.90"', "19.90")
        text.fill(good.replace("19.90", "19.90,,"))
        expect(page.locator("#verdict")).to_contain_text("Would be refused at line")
        text.fill(good)
        expect(page.locator("#verdict")).to_contain_text("Would be stored.")
        page.get_by_role("button", name="Replay as edited").click()
        expect(page.locator("#fate")).to_contain_text("Stored", timeout=20_000)
        page.get_by_text("As it was sent again").click()
        expect(page.get_by_label("As it was sent again")).to_contain_text("19.90")
    assert stored(stack, "edited") == 1


def test_a_group_is_mended_by_a_rule_tried_dry_first(stack: Stack, signed_in: BrowserContext) -> None:
    bury(stack, "mended", "1", "2.5", "twelve", "4")
    with tab(signed_in, expected=(422,)) as shown:
        page = shown.page
        shown.open(url(stack, "failures/letters?name=mended"))
        expect(page.get_by_label("Field")).to_have_value("properties.amount")  # it suggests itself
        page.get_by_label("Field").fill("id")
        page.get_by_role("button", name="Try it dry").click()
        expect(page.locator("#tried")).to_contain_text("The id stays")
        page.get_by_label("Field").fill("properties.amount")
        page.get_by_role("button", name="Try it dry").click()
        expect(page.locator("#tried")).to_contain_text("3 of 4 would store")
        expect(page.locator("#tried")).to_contain_text("'twelve' is not a number")
        assert stored(stack, "mended") == 0
        page.get_by_role("button", name="Replay 4").click()
        expect(page.locator(".job .tag")).to_contain_text("done", timeout=20_000)
        page.reload()  # the address is the replay's
        expect(page.locator(".outcomes")).to_contain_text("Stored3")
        expect(page.locator(".outcomes")).to_contain_text("Not sent1")
    assert stored(stack, "mended") == 3


def test_the_rest_is_discarded_without_javascript(
    stack: Stack, browser: Browser, signed_in: BrowserContext
) -> None:
    bury(stack, "tested", "a", "b")
    options: dict[str, Any] = {
        "java_script_enabled": False,
        "viewport": PHONE,
        "storage_state": signed_in.storage_state(),
    }
    with window(browser, expected=(422,), **options) as shown:
        page = shown.page
        shown.open(url(stack, "failures/letters?name=tested"))
        page.get_by_text("Discard instead").click()
        page.get_by_role("button", name="Discard", exact=True).click()
        expect(page.get_by_text("Say why: it stays with them.").first).to_be_visible()
        page.get_by_label("Reason").fill("Sent by a test.")
        page.get_by_role("button", name="Discard", exact=True).click()
        expect(page.get_by_role("status").first).to_contain_text("Discarded: 2")


def test_the_pipeline_lives_and_is_paused_and_resumed(stack: Stack, signed_in: BrowserContext) -> None:
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "pipeline"))
        page.get_by_role("link", name="Pause").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("The disk is changed.")
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        expect(page.locator("#limit")).to_contain_text("Draining is paused")
        before = page.locator('[data-n="depth"]').element_handle()
        send = {"name": "waits", "properties": {}}
        headers = {"Authorization": f"Bearer {stack.credentials['write_key']}"}
        address = f"{stack.credentials['url']}/v1/events"
        urllib.request.urlopen(urllib.request.Request(address, json.dumps(send).encode(), headers)).close()
        expect(page.locator('[data-n="depth"]')).to_have_text("1")  # within seconds, without a reload
        assert before is not None
        assert before.is_visible()  # the element is the same: only its number was replaced
        page.get_by_role("link", name="Resume").click()
        page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        expect(page.locator('[data-n="depth"]')).to_have_text("0")
        expect(page.locator("#limit")).not_to_contain_text("paused")


@pytest.mark.parametrize(
    "path",
    ["failures", "failures/letters", "failures/{letter}", "failures/{letter}/edit", "failures/replays/{replay}", "pipeline"],
)  # fmt: skip
def test_everybody_can_use_them(stack: Stack, signed_in: BrowserContext, path: str) -> None:
    letter = stack.ask("SELECT min(id) FROM events_deadletter WHERE state = 'waiting'")[0][0]
    replay = stack.ask("SELECT max(id) FROM events_replay")[0][0]
    with tab(signed_in) as shown:
        assert shown.open(url(stack, path.format(letter=letter, replay=replay))).status == 200
        assert layout_shift(shown.page) < 0.02
        assert not barriers(shown.page)
