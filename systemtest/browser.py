"""Chromium for tests of pages: every console error and every report of the Content-Security-Policy fails the test.

Debian's own, by its name on the PATH; playwright's download where there is one; installed by apt where that may be.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Response,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
# Playwright may find no page to speak to: what a policy refuses is told to the console as well, which is listened to.
REPORT = "addEventListener('securitypolicyviolation', e => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))"


@dataclass
class Window:
    """A page of a browser, and what it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: tuple[int, ...] = ()

    def listen(self) -> "Window":
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        return self

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(
            f"status of {status} " in message.text for status in self.expected
        ):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def open(self, address: str) -> Response:
        answer = self.page.goto(address)
        assert answer is not None
        return answer


def executable() -> str | None:
    """Returns Chromium's path, None for playwright's own. Skips the test, and says why, where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found or _has_own():
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet: Mapping[str, Any] = {
            "capture_output": True,
            "check": False,
            "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        }
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], **quiet)
        if found := shutil.which("chromium"):
            return found
    pytest.skip("no Chromium: install Debian's `chromium`, or run `playwright install chromium`")


def _has_own() -> bool:
    with sync_playwright() as playwright:
        return os.path.exists(playwright.chromium.executable_path)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser until the end of the block. Root's may not have its sandbox."""
    path = executable()
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
        except Error as error:
            pytest.skip(f"Chromium does not start: {str(error).splitlines()[0]}")
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, *, expected: tuple[int, ...] = (), **options: Any) -> Iterator[Window]:
    """A page with cookies of its own. Fails at its end on whatever it complained about but `expected` statuses."""
    context = browser.new_context(**{"viewport": DESK, **options})
    context.set_default_timeout(10_000)
    context.add_init_script(REPORT)
    try:
        with tab(context, expected=expected) as made:
            yield made
    finally:
        context.close()


@contextmanager
def tab(context: BrowserContext, *, expected: tuple[int, ...] = ()) -> Iterator[Window]:
    """One more page with the cookies of a window."""
    made = Window(context.new_page(), expected=expected).listen()
    try:
        yield made
    finally:
        made.page.close()
    assert not made.complaints, made.complaints
