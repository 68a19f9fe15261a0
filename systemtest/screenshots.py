"""`make screenshots`: README's pictures, of the demo on a stack of its own, into docs/screenshots/.

SCREENSHOTS_VAR names the state directory of a running stack with a demo instead (SCREENSHOTS_PROJECT: its project's id).
A page that is not there is skipped, and said.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Error, Page

from systemtest.browser import DESK, PHONE, chromium
from systemtest.stack import ROOT, stack_in_clean_folder

FOLDER: Final = ROOT / "docs" / "screenshots"
MOST_BYTES: Final = 250_000
LIVE_RATE: Final = 12  # events a second while the pictures are taken: more would stand out in the charts
# No part is on its way any more, and every chart is drawn.
IS_DRAWN: Final = """() => document.readyState === "complete"
    && !document.querySelector(".htmx-request, .skeleton, [aria-busy=true]")
    && [...document.querySelectorAll("[data-chart]")].every(chart => chart.querySelector("canvas"))"""


@dataclass(frozen=True)
class Picture:
    """`path` is below the project's address. `follow`: a link on that page, whose page is the one that is wanted."""

    name: str
    path: str
    follow: str = ""
    scheme: str = "light"
    size: Mapping[str, int] = field(default_factory=lambda: DESK)


PICTURES: Final = (  # the overview last: it has a number of the last minute
    Picture("failures", "failures"),
    Picture("failures-detail", "failures", follow=r"/failures/\d+($|\?)"),
    Picture("events", "events?period=7d"),
    Picture("pipeline", "pipeline"),
    Picture("overview-phone", "overview?period=7d", size=PHONE),
    Picture("overview-dark", "overview?period=7d", scheme="dark"),
    Picture("overview", "overview?period=7d"),
)


@dataclass(frozen=True)
class Shop:
    """Where the demo is, and who may see it."""

    credentials: Mapping[str, Any]
    project_id: str

    @property
    def url(self) -> str:
        return f"{self.credentials['url']}/projects/{self.project_id}"


def main() -> int:
    try:
        with shop() as found, chromium() as browser:
            left_out = [picture.name for picture in PICTURES if not taken(browser, found, picture)]
    except pytest.skip.Exception as reason:  # no Chromium
        print(reason)
        return 1
    print(f"{len(PICTURES) - len(left_out)} pictures in {FOLDER.relative_to(ROOT)}/")
    return 0


@contextmanager
def shop() -> Iterator[Shop]:
    """A stack with the demo, which goes on until the end of the block: so that pages show the present too."""
    if running := os.environ.get("SCREENSHOTS_VAR"):
        credentials = json.loads((Path(running) / "credentials.json").read_text())
        yield Shop(credentials, os.environ.get("SCREENSHOTS_PROJECT", "2"))
        return
    with stack_in_clean_folder() as stack:
        stack.start()
        print("A stack of its own is up; loading the demo ...", flush=True)
        command = [sys.executable, "manage.py", "demo", "--live", str(LIVE_RATE)]
        demo = subprocess.Popen(command, cwd=ROOT, env=stack.env, stdout=subprocess.PIPE, text=True)
        try:
            yield Shop(stack.credentials, project_of(demo))
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate()


def project_of(demo: "subprocess.Popen[str]") -> str:
    """Returns the id of the project once the month is in it and the present goes on."""
    assert demo.stdout is not None
    project_id = ""
    for line in demo.stdout:
        print(f"  {line.rstrip()}", flush=True)
        if address := re.search(r"/projects/(\d+)/overview", line):
            project_id = address[1]
        if line.startswith("Going on"):
            return project_id
    raise SystemExit("The demo was not made.")


def taken(browser: Browser, found: Shop, picture: Picture) -> bool:
    """Takes one picture; says whether its page is there."""
    context = browser.new_context(
        viewport={"width": picture.size["width"], "height": picture.size["height"]},
        color_scheme="dark" if picture.scheme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="Europe/Berlin",
    )
    context.set_default_timeout(30_000)
    try:
        page = context.new_page()
        sign_in(page, found)
        answer = page.goto(f"{found.url}/{picture.path}")
        if answer is None or answer.status == 404:
            print(f"skipped {picture.name}: there is no page {picture.path} yet")
            return False
        settle(page)
        if picture.follow and not followed(page, picture.follow):
            print(f"skipped {picture.name}: no link to it on {picture.path}")
            return False
        save(page, picture.name)
        return True
    finally:
        context.close()


def sign_in(page: Page, found: Shop) -> None:
    page.goto(found.credentials["url"])
    page.get_by_label("User name").fill(found.credentials["admin_user"])
    page.get_by_label("Password").fill(found.credentials["admin_password"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Projects").wait_for()


def followed(page: Page, pattern: str) -> bool:
    links: list[str] = page.evaluate("[...document.querySelectorAll('a[href]')].map(link => link.href)")
    wanted = next((link for link in links if re.search(pattern, link)), None)
    if wanted is None:
        return False
    page.goto(wanted)
    settle(page)
    return True


def settle(page: Page) -> None:
    try:
        page.wait_for_function(IS_DRAWN)
    except Error as error:
        print(f"{page.url}: taken as it is, for it does not come to rest ({str(error).splitlines()[0]})")


def save(page: Page, name: str) -> None:
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")
    size = path.stat().st_size
    print(
        f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB" + (" (too large)" if size > MOST_BYTES else ""),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
