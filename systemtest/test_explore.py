"""Overview, events, live, a person and a trace in a real browser, over a whole stack."""

import json
import random
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from systemtest.barriers import barriers, layout_shift
from systemtest.browser import PHONE, chromium, tab, window
from systemtest.stack import Stack, stack_in_clean_folder, wait

pytestmark = pytest.mark.slow

SENT_ID = "order-7"
SEALED = "SELECT (SELECT count(*) FROM events_event), (SELECT count(*) FROM events_batch WHERE seal IS NULL)"
KEPT = 200
SEEN_SECONDS = 2.0
FLOOD_SECONDS, FLOOD_BATCH = 10.0, 100
# Of the processor: 41 ms. By the clock a task takes as long as whatever else runs here lets it, which is only printed.
LONGEST_TASK_MS = 100
TRACED = ["toplevel", "devtools.timeline"]
# The longest that no picture was drawn.
WATCH_PICTURES = """() => { window.pauses = [0]; let last = 0;
  const draw = at => { if (last) window.pauses.push(at - last); last = at; requestAnimationFrame(draw); };
  requestAnimationFrame(draw); }"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with stack_in_clean_folder() as stack:
        stack.start()
        chance = random.Random(7)
        send(stack, [event(number, chance) for number in range(400)])
        order = {"plan": "pro", "amount": 19.9, "address": {"city": "Berlin"}}
        send(stack, [{"id": SENT_ID, "name": "order_paid", "user_id": "ada", "properties": order}])
        wait(lambda: stack.ask(SEALED) == [(401, 0)], 30.0, "the lake to have the events")
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(stack: Stack, browser: Browser) -> Iterator[BrowserContext]:
    with window(browser) as shown:
        sign_in(stack, shown.page)
        yield shown.page.context


def event(number: int, chance: random.Random) -> dict[str, Any]:
    """Of the last five hours; names and persons as long as they may be are among them."""
    name = chance.choice(["page_view", "page_view", "api_request", "search"])
    at = datetime.now(UTC) - timedelta(minutes=chance.random() * 300)
    properties: dict[str, Any] = {"plan": chance.choice(["free", "pro"])}
    if name == "api_request":
        properties |= {"route": chance.choice(["/cart", "/pay"]), "duration_ms": chance.randrange(5, 900)}
    found = {
        "name": name,
        "user_id": f"user-{number % 30}",
        "occurred_at": at.isoformat(),
        "properties": properties,
    }
    return found | ({"name": "w" * 200, "user_id": "مرحبا 🚀 " + "y" * 180} if number == 0 else {})


def send(stack: Stack, events: list[dict[str, Any]]) -> None:
    key = stack.credentials["write_key"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{stack.credentials['url']}/v1/events", json.dumps(events).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202


def url(stack: Stack, below: str) -> str:
    return f"{stack.credentials['url']}/projects/{stack.credentials['project_id']}/{below}"


def sign_in(stack: Stack, page: Page) -> None:
    page.goto(stack.credentials["url"])
    page.get_by_label("User name").fill(stack.credentials["admin_user"])
    page.get_by_label("Password").fill(stack.credentials["admin_password"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()


def test_from_a_number_to_the_event_behind_it(stack: Stack, signed_in: BrowserContext) -> None:
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "overview"))
        expect(page.locator("#part-stats")).to_contain_text("Error rate")
        page.locator("#part-top").get_by_role("link", name="order_paid").click()
        expect(page.locator(".chip")).to_have_text("name = order_paid")
        page.locator("#part-top").get_by_role("link", name="Events").click()
        expect(page.get_by_role("heading", name="Events", exact=True)).to_be_visible()
        page.locator("[data-opens-row]", has_text="order_paid").click()
        detail = page.locator("tr.detail")
        expect(detail).to_contain_text("Berlin")
        detail.get_by_role("link", name="Filter by address.city").click()
        expect(page.locator(".chip")).to_have_text(["name = order_paid", "address.city = Berlin"])
        expect(page.locator("#part-histogram")).to_contain_text("1 events")
        page.go_back()
        page.get_by_role("link", name="Remove filter name = order_paid").click()
        expect(page.locator(".chip")).to_have_count(0)
        page.go_back()
        page.locator("[data-opens-row]", has_text="order_paid").click()
        page.locator("tr.detail").get_by_role("link", name="Trace").click()
        expect(page.get_by_text("It is stored.")).to_be_visible()
        expect(page.locator(".between").first).to_contain_text("s")
        page.get_by_label("Id of the event").fill("never-sent")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Never seen here.")).to_be_visible()


def test_a_drag_over_the_chart_is_a_period_and_keys_do_the_rest(
    stack: Stack, signed_in: BrowserContext
) -> None:
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "events?period=24h"))
        expect(page.locator("#part-histogram .u-over")).to_be_visible()
        box = page.locator("#part-histogram .u-over").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 30, steps=4)
        page.mouse.up()
        page.wait_for_url("**from=*until=*")
        expect(page.locator("#part-rows tbody tr").first).to_be_visible()
        page.keyboard.type("jj")
        expect(page.locator("tr.at")).to_have_count(1)
        page.keyboard.press("Enter")
        expect(page.locator("tr.detail .facts")).to_be_visible()
        page.keyboard.type("f")
        page.keyboard.type("@name")
        expect(page.locator("#f-what")).to_have_value("@name")
        page.keyboard.press("Tab")
        expect(page.locator("#f-values option")).not_to_have_count(0)
        page.get_by_label("Value").fill("search")
        page.keyboard.press("Enter")
        expect(page.locator(".chip")).to_have_text("name = search")


def test_live_shows_pauses_and_goes_on(stack: Stack, signed_in: BrowserContext) -> None:
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "events?live=1"))
        expect(page.locator("[data-live-words]")).to_contain_text("Live")
        begin = time.monotonic()
        send(stack, [{"name": "first_live", "user_id": "ada", "properties": {"plan": "pro"}}])
        expect(page.get_by_role("link", name="first_live")).to_be_visible()
        assert time.monotonic() - begin < SEEN_SECONDS
        page.keyboard.type(".")
        expect(page.locator("[data-live-words]")).to_have_text("Paused")
        send(stack, [{"name": "while_paused"}] * 3)
        page.get_by_role("button", name="3 new, show").click()
        expect(page.get_by_role("link", name="while_paused").first).to_be_visible()
        page.get_by_role("link", name="first_live").click()
        expect(page.locator("tr.detail")).to_contain_text("ada")
        expect(page.locator("[data-live-words]")).to_have_text("Paused")


def test_live_does_not_freeze_at_a_thousand_events_a_second(
    stack: Stack, browser: Browser, signed_in: BrowserContext
) -> None:
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "events?live=1"))
        expect(page.locator("[data-live-words]")).to_contain_text("Live")
        page.evaluate(WATCH_PICTURES)
        browser.start_tracing(page=page, categories=TRACED)
        sent = _flood(stack)
        expect(page.locator("[data-live-count]")).to_contain_text("25 of")
        assert page.locator("[data-live-rows] tr").count() <= KEPT
        longest = _longest_task_ms(browser.stop_tracing())
        pause = page.evaluate("Math.max(...window.pauses)")
        print(f"{sent:.0f} events/s: the longest task {longest:.0f} ms, between two pictures {pause:.0f} ms")
        assert 0 < longest < LONGEST_TASK_MS
        page.mouse.wheel(0, 600)
        expect(page.locator("[data-live-words]")).to_have_text("Paused")
        send(stack, [{"name": "unseen"}])
        expect(page.locator("[data-live-new]")).to_contain_text("new, show")


def test_what_is_not_shown_is_told_in_its_place(stack: Stack, signed_in: BrowserContext) -> None:
    stream = f"es:live:{stack.credentials['project_id']}"
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "events?live=1"))
        expect(page.locator("[data-live-words]")).to_contain_text("Live")
        send(stack, [{"name": "before"}])
        rows = page.locator("[data-live-rows] tr")
        expect(rows.first).to_contain_text("before")
        web = psutil.Process(stack.parts()["web"]).children()[-1]
        with stack.inserts_blocked():
            send(stack, [{"name": "unseen"}] * 30)
            web.suspend()  # what is stored now is published, and has left the stream before the web looks
        try:
            wait(lambda: _published(stack, stream, b"unseen") >= 30, 20.0, "the stream to have them all")
            stack.valkey.xtrim(stream, maxlen=0, approximate=False)
        finally:
            web.resume()
        send(stack, [{"name": "after"}])
        expect(rows.nth(0)).to_contain_text("after", timeout=20_000)
        expect(rows.nth(1)).to_have_text("30 events not shown: they had left the stream.")
        expect(rows.nth(2)).to_contain_text("before")
        stack.valkey.delete(*stack.valkey.keys("es:live*"))  # as a Valkey that has lost it
        begun = page.get_by_text("Some events not shown: the stream began anew.")
        expect(begun).to_be_visible(timeout=30_000)


def _longest_task_ms(trace: bytes) -> float:
    """Of the processor, in a page's main thread."""
    events = json.loads(trace)["traceEvents"]
    named = (one for one in events if one["name"] == "thread_name")
    pages = {(one["pid"], one["tid"]) for one in named if one["args"]["name"] == "CrRendererMain"}
    tasks = (one for one in events if one["name"].endswith("RunTask") and (one["pid"], one["tid"]) in pages)
    return max((one.get("tdur", 0) / 1000 for one in tasks), default=0.0)


def _published(stack: Stack, stream: str, word: bytes) -> int:
    held: Any = stack.valkey.xrange(stream)
    return sum(value.count(word) for _, fields in held for value in fields.values())


def _flood(stack: Stack) -> float:
    """Returns how many events a second were taken."""
    begin = time.monotonic()
    until = begin + FLOOD_SECONDS
    due, sent = begin, 0
    while due < until:
        send(
            stack,
            [{"name": f"flood_{number % 7}", "properties": {"n": number}} for number in range(FLOOD_BATCH)],
        )
        sent += FLOOD_BATCH
        due += FLOOD_BATCH / 1_000
        time.sleep(max(0.0, due - time.monotonic()))
    return sent / (time.monotonic() - begin)


def test_all_of_it_works_without_javascript(stack: Stack, browser: Browser) -> None:
    with window(browser, java_script_enabled=False, viewport=PHONE) as shown:
        page = shown.page
        sign_in(stack, page)
        shown.open(url(stack, "overview"))
        page.get_by_role("link", name="Show the numbers").first.click()
        expect(page.locator("#part-stats")).to_contain_text("Error rate")
        page.locator("#part-top").get_by_role("link", name="page_view").click()
        expect(page.locator(".chip")).to_have_text("name = page_view")
        expect(page.locator("#part-stats")).to_contain_text("Error rate")  # it stays so
        shown.open(url(stack, "events?whole=1"))
        page.get_by_text("Filter", exact=False).first.click()
        page.get_by_label("Property, or @ and a field").fill("name")
        page.get_by_label("Value").fill("order_paid")
        page.get_by_role("button", name="Add filter").click()
        expect(page.locator(".chip")).to_have_text("name = order_paid")
        page.locator("#part-rows").get_by_role("link", name="order_paid").first.click()
        expect(page.get_by_role("heading", name="order_paid")).to_be_visible()


PAGES = (
    "overview", "overview?measure=latency&compare=no", "overview?f=plan:eqq:x", "events", "events?f=@name:eq:none",
    "events?live=1", "events/person?who=ada", "events/person", f"events/trace?id={SENT_ID}", "events/trace?id=never",
)  # fmt: skip


@pytest.mark.parametrize("below", PAGES)
def test_everybody_can_use_every_page(stack: Stack, signed_in: BrowserContext, below: str) -> None:
    with tab(signed_in) as shown:
        assert shown.open(url(stack, below)).status == 200
        expect(shown.page.locator(".card.waits")).to_have_count(0)
        assert layout_shift(shown.page) < 0.02
        assert not barriers(shown.page)


def test_an_opened_row_can_be_used_by_everybody(stack: Stack, signed_in: BrowserContext) -> None:
    with tab(signed_in) as shown:
        shown.open(url(stack, "events?f=@name:eq:order_paid"))
        shown.page.locator("[data-opens-row]", has_text="order_paid").click()
        expect(shown.page.locator("tr.detail")).to_contain_text("Berlin")
        assert not barriers(shown.page)
