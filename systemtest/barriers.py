"""What keeps people from using a page: found by axe in both themes, on a phone and at a desk, and by looking at its width."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as TooLate

from systemtest.browser import DESK, PHONE

SERIOUS: Final = ("serious", "critical")
NARROWEST: Final = 360
# All rules once for each layout; colours, which are what a theme changes, in the other theme too.
LOOKS: Final = (("light", DESK, True), ("dark", DESK, False), ("dark", PHONE, True), ("light", PHONE, False))
RUN: Final = "rules => axe.run(document, {resultTypes: ['violations'], ...(rules ? {runOnly: rules} : {})})"
# How far what is there moves while the rest comes; 0.1 is what is called good.
SHIFT: Final = """new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => { for (const entry of list.getEntries()) sum += entry.value; })
    .observe({type: 'layout-shift', buffered: true});
  requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
})"""


SETTLE_MS: Final = 3_000
WIDEST: Final = """() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map(e => e.outerHTML.slice(0, 80))].slice(0, 6).join(' | ')"""


def barriers(page: Page) -> list[str]:
    """Returns what is seriously wrong with the page as it stands: rule, look, element."""
    found = []
    page.evaluate(_axe())
    for theme, size, is_whole in LOOKS:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        answer: dict[str, Any] = page.evaluate(RUN, None if is_whole else ["color-contrast"])
        found += [
            f"{one['id']} ({theme}, {size['width']}): {one['nodes'][0]['html']}"
            for one in answer["violations"]
            if one["impact"] in SERIOUS
        ]
    page.set_viewport_size({"width": NARROWEST, "height": 800})
    try:  # charts take their new width a moment later
        page.wait_for_function(f"document.documentElement.scrollWidth <= {NARROWEST}", timeout=SETTLE_MS)
    except TooLate:
        found.append(f"scrolls sideways: {page.evaluate(WIDEST)} at {NARROWEST}")
    return found


def layout_shift(page: Page) -> float:
    """Returns how far the page moved since it was opened."""
    return float(page.evaluate(SHIFT))


def _axe() -> str:
    spec = find_spec("axe_playwright_python")
    assert spec is not None and spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / "axe.min.js").read_text()
