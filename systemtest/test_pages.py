"""The pages in a real browser: from the door to the first event, with and without JavaScript, light and dark, phone and desk."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from systemtest.barriers import barriers, layout_shift
from systemtest.browser import PHONE, Window, chromium, tab, window
from systemtest.stack import Stack, stack_in_clean_folder, wait

pytestmark = pytest.mark.slow

OF_PROJECT = (
    "start", "settings", "settings/keys", "settings/keys/new", "settings/limits", "settings/audit",
    "settings/plan", "settings/plan/name?name=order_paid",
)  # fmt: skip
PAGES = ("/projects", "/projects/new", *(f"/projects/{{project}}/{below}" for below in OF_PROJECT))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with stack_in_clean_folder() as stack:
        yield stack.start()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(stack: Stack, browser: Browser) -> Iterator[BrowserContext]:
    """A browser that came in once, for the tests that are about what is behind the door."""
    with window(browser) as shown:
        sign_in(stack, shown)
        yield shown.page.context


def url(stack: Stack, path: str = "/") -> str:
    return stack.credentials["url"] + path.format(project=stack.credentials["project_id"])  # type: ignore[no-any-return]


def sign_in(stack: Stack, shown: Window) -> Page:
    page = shown.page
    shown.open(url(stack))
    page.get_by_label("User name").fill(stack.credentials["admin_user"])
    page.get_by_label("Password").fill(stack.credentials["admin_password"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    return page


def send(stack: Stack, key: str, event: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url(stack, "/v1/events"), json.dumps(event).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def test_from_the_door_to_the_first_event(stack: Stack, browser: Browser) -> None:
    with window(browser, permissions=["clipboard-read", "clipboard-write"]) as shown:
        page = sign_in(stack, shown)
        page.get_by_role("link", name="New project").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("First shop")
        dialog.get_by_role("button", name="Create project").click()
        expect(page.get_by_text("Waiting for your first event")).to_be_visible()
        key = page.locator("#secret").inner_text()
        assert send(stack, key, {"name": " "}) == 400
        expect(page.get_by_text("the name must not be blank")).to_be_visible()
        page.get_by_role("button", name="Copy curl snippet").click()
        expect(page.get_by_role("button", name="Copy curl snippet")).to_contain_text("Copied")
        snippet = page.evaluate("navigator.clipboard.readText()")
        ran = subprocess.run(
            ["sh", "-c", snippet], capture_output=True, text=True, check=True
        )  # as a person would
        assert json.loads(ran.stdout)["accepted"] == 1
        expect(page.get_by_text("It is here.")).to_be_visible()
        expect(page.locator(".facts")).to_contain_text(" ms")
        page.get_by_text("Python", exact=True).click()
        python = page.locator("#snippet-python").inner_text()
        ran = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True)
        assert ran.stdout.startswith("202 ")
        page.get_by_role("button", name="I saved it").click()
        expect(page.locator("#secret")).to_have_count(0)
        assert key not in page.content()


def test_a_key_is_made_and_revoked(stack: Stack, signed_in: BrowserContext) -> None:
    with tab(signed_in, expected=(422,)) as shown:
        page = shown.page
        shown.open(url(stack, "/projects/{project}/settings/keys"))
        page.get_by_role("link", name="New key").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Allowed origins").fill("no origin")
        dialog.get_by_role("button", name="Create key").click()
        expect(dialog.get_by_text("is no origin")).to_be_visible()
        dialog.get_by_label("Allowed origins").fill("")
        dialog.get_by_label("Name").fill("till")
        dialog.get_by_role("button", name="Create key").click()
        secret = page.locator("#secret").inner_text()
        assert send(stack, secret, {"name": "paid"}) == 202
        page.get_by_role("link", name=f"Revoke key {secret[:10]}").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke key").click()
        expect(page.get_by_role("status")).to_contain_text("is revoked")
        wait(lambda: send(stack, secret, {"name": "paid"}) == 403, 8.0, "the revoked key to be refused")


def test_all_of_it_works_without_javascript(stack: Stack, browser: Browser) -> None:
    with window(browser, java_script_enabled=False, viewport=PHONE) as shown:
        page = sign_in(stack, shown)
        page.get_by_role("link", name="New project").click()
        page.get_by_label("Name").fill("Plain shop")
        page.get_by_role("button", name="Create project").click()
        key = page.locator("#secret").inner_text()
        page.get_by_text("Node", exact=True).click()
        expect(page.locator("#snippet-node")).to_contain_text(key)
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)
        page.get_by_role("link", name="Settings", exact=True).click()
        page.get_by_label("Name").fill("Plainer shop")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_contain_text("Saved.")
        page.get_by_role("button", name="Theme: as the system").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_use_every_page(stack: Stack, signed_in: BrowserContext, path: str) -> None:
    with tab(signed_in) as shown:
        assert shown.open(url(stack, path)).status == 200
        assert layout_shift(shown.page) < 0.02
        assert not barriers(shown.page)


def test_the_keyboard_leads_everywhere(stack: Stack, signed_in: BrowserContext) -> None:
    with tab(signed_in) as shown:
        page = shown.page
        shown.open(url(stack, "/projects/{project}/start"))
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.type("gs")
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        page.keyboard.type("t")
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        page.keyboard.type("?")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
        page.get_by_label("Name").press_sequentially("gs?")  # in a field, keys are letters
        assert page.get_by_label("Name").input_value().startswith("gs?")


def test_the_door_complains_of_nothing_and_is_usable(stack: Stack, browser: Browser) -> None:
    with window(browser, expected=(422,)) as shown:
        shown.open(url(stack, "/sign-in"))
        shown.page.get_by_label("User name").fill("nobody")
        shown.page.get_by_label("Password").fill("wrong")
        shown.page.keyboard.press("Enter")
        expect(shown.page.get_by_role("alert")).to_contain_text("Wrong user name or password")
        assert not barriers(shown.page)


def test_the_admin_is_in_our_colours_without_a_complaint(stack: Stack, signed_in: BrowserContext) -> None:
    with tab(signed_in) as shown:
        page = shown.page
        page.emulate_media(color_scheme="dark")
        shown.open(url(stack, "/projects"))
        page.get_by_role("link", name="Administration").click()
        expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"
        shown.open(url(stack, "/admin/events/event/"))
