"""Tags and filters of every page: numbers, times, sparklines, addresses, and components that hold content."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template.context import Context
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

SPARK_WIDTH: Final = 84
SPARK_HEIGHT: Final = 30
_UNITS: Final = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))  # from, by, unit
_CODE: Final = re.compile(r"`([^`]+)`")
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


# --- files and addresses --------------------------------------------------------------------------------------------


@cache
def _versioned(name: str) -> str:
    path = finders.find(name)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:10] if isinstance(path, str) else "0"
    return f"{static(name)}?v={digest}"


@register.simple_tag
def asset(name: str) -> str:
    """The address of a static file, with its digest: browsers keep it for a year (settings.static_headers)."""
    return _versioned.__wrapped__(name) if settings.DEBUG else _versioned(name)


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: Any) -> str:
    """This page's query string with parameters set, or dropped where None: `{% query period="7d" cursor=None %}`."""
    parameters = context["request"].GET.copy()
    for name, value in changes.items():
        parameters.pop(name, None)
        if value is not None:
            parameters[name] = str(value)
    return f"?{parameters.urlencode()}" if parameters else context["request"].path


@register.simple_tag
def with_query(address: str, **parameters: Any) -> str:
    """An address with parameters: `{% with_query "/sign-in" next=here %}`."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{address}?{urlencode(given)}" if given else address


# --- numbers and times ----------------------------------------------------------------------------------------------


@register.filter
def number(value: float | None, digits: int = 0) -> str:
    """Digits in groups: 8,412,907; an en dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


@register.filter
def compact(value: float | None) -> str:
    """At most four figures: 9,999, 48.2 M; an en dash where there is none."""
    if value is None:
        return "–"
    for least, by, unit in _UNITS:
        if abs(value) >= least:
            return f"{value / by:,.{0 if abs(value) >= 100 * by else 1}f} {unit}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


@register.filter
def seconds(value: float | None) -> str:
    """A duration in the unit that fits: 840 µs, 12 ms, 1.8 s, 4 min, 3 h, 2 d."""
    if value is None:
        return "–"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    size, unit = next(span for span in _SPANS if value >= span[0])
    return f"{value / size:.0f} {unit}"


@register.filter
def size(value: float | None) -> str:
    """Bytes: 812 B, 16.1 MB."""
    if value is None:
        return "–"
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


@register.simple_tag(takes_context=True)
def when(context: Context, moment: datetime | None, style: str = "relative") -> str:
    """`<time>`: relative ("4 min ago") or, with style="exact", to the millisecond; the other stands in its title.

    In the project's zone; page.js lets the relative ones go on.
    """
    if moment is None:
        return "–"
    project = context.get("project")
    local = moment.astimezone(ZoneInfo(project.time_zone if project else "UTC"))
    exact = f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} {local:%Z}"
    ago = _ago(moment)
    shown, title = (exact, ago) if style == "exact" else (ago, exact)
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>',
        moment.isoformat(timespec="milliseconds"),
        title,
        "" if style == "exact" else mark_safe(" data-ago"),
        shown,
    )


def _ago(moment: datetime) -> str:
    passed = (timezone.now() - moment).total_seconds()
    if abs(passed) < 1:
        return "now"
    size, unit = next(span for span in _SPANS if abs(passed) >= span[0])
    text = f"{int(abs(passed) // size)} {unit}"
    return f"{text} ago" if passed > 0 else f"in {text}"


# --- pictures without a library -------------------------------------------------------------------------------------


@register.simple_tag
def spark(
    values: Sequence[float],
    tone: str = "",
    width: int = SPARK_WIDTH,
    height: int = SPARK_HEIGHT,
    wide: bool = False,
) -> str:
    """A sparkline; tone: "", "bad" or "mute"; `wide` fills its place. Decoration: the number beside it says it."""
    points = list(values) if len(values) > 1 else [0.0, 0.0]
    tone = tone if any(points) else "mute"
    top = max(points) or 1
    step = width / (len(points) - 1)
    line = " ".join(
        f"{place * step:.1f},{height - 2 - max(0, value) / top * (height - 4):.1f}"
        for place, value in enumerate(points)
    )
    spread = (
        mark_safe('width="100%" preserveAspectRatio="none"') if wide else format_html('width="{}"', width)
    )
    return format_html(
        '<svg class="spark {}" {} height="{}" viewBox="0 0 {} {}" aria-hidden="true">'
        '<path class="a" d="M{} L{},{} L0,{}Z"/><path d="M{}"/></svg>',
        tone, spread, height, width, height, line, width, height, height, line,
    )  # fmt: skip


@register.filter
def marked(text: str) -> SafeString:
    """What stands between backticks becomes code, as in texts of errors; the rest stays text."""
    pieces = enumerate(_CODE.split(text))  # every second one stood between them
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", one) if place % 2 else one,) for place, one in pieces)
    )


@register.simple_tag
def share(part: float, whole: float) -> float:
    """Per cent, between 0 and 100, one digit: for the width of a bar."""
    return round(min(100.0, max(0.0, 100 * part / whole)), 1) if whole else 0.0


@register.filter
def beside(row: Sequence[Any], columns: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Each cell with its column."""
    return list(zip(columns, row, strict=False))


# --- components that hold content: the rest are partials, `{% include "_tag.html" %}` --------------------------------


@register.simple_block_tag(takes_context=True)
def card(
    context: Context,
    content: str,
    title: str = "",
    note: str = "",
    width: str = "",
    action: str = "",
    url: str = "",
    id: str = "",
    flush: bool = False,
) -> str:
    """A card. width: "", w4, w6 or w8 of twelve columns; `action` and `url`: a link on the right; `flush`: no padding."""
    return render_to_string("_card.html", {**locals(), "content": SafeString(content)})
