"""What is wrong with some of the shop's events: they break its tracking plan, and wait as dead letters to be mended. Pure.

A phone app of the last days sends them. Each kind is one group of failures, with an ending of its own: a rule for its type,
a value or a name mends it whole or nearly so, or the plan has to learn a value.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from events.demo.product import Happened

SINCE: Final = timedelta(days=9)
APP: Final = {"platform": "android", "release": "4.2.1-rc1"}

# By event name: mode, schema of `properties`, and why.
PLAN: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "order_completed": (
        "bury",
        {
            "type": "object",
            "required": ["order_id", "amount", "currency"],
            "properties": {
                "order_id": {"type": "string"},
                "amount": {"type": "number", "minimum": 0},
                "currency": {"enum": ["EUR", "CHF"]},
                "items": {"type": "array", "items": {"type": "object", "required": ["sku", "price", "quantity"]}},
            },
        },
        "Bookkeeping reads these.",
    ),
    "signed_up": (
        "bury",
        {"type": "object", "required": ["plan"], "properties": {"plan": {"enum": ["free", "plus", "team"]}}},
        "Plans as they are sold.",
    ),
    "search": (
        "warn",
        {"type": "object", "properties": {"results": {"type": "integer", "minimum": 1}}},
        "To see what is searched in vain.",
    ),
}  # fmt: skip


def _amount_as_text(properties: dict[str, Any], number: int) -> None:
    properties["amount"] = "-" if number % 12 == 11 else f"{properties['amount']:.2f}"


def _currency_in_small(properties: dict[str, Any], number: int) -> None:
    properties["currency"] = "eur"  # all of them, so that one value mends them


def _order_id_renamed(properties: dict[str, Any], number: int) -> None:
    properties["orderId"] = properties.pop("order_id")


def _plan_not_sold(properties: dict[str, Any], number: int) -> None:
    properties["plan"] = "plus_trial"


@dataclass(slots=True)
class Flaw:
    """One kind: of which events, how many at most, and what happens to their properties."""

    name: str
    count: int
    spoil: Callable[[dict[str, Any], int], None]


FLAWS: Final = (
    Flaw("order_completed", 46, _amount_as_text),
    Flaw("order_completed", 22, _currency_in_small),
    Flaw("order_completed", 18, _order_id_renamed),
    Flaw("signed_up", 14, _plan_not_sold),
)
# Refused at the door, so that the ledger and the receipts have something to tell.
REFUSED: Final[tuple[Happened, ...]] = (
    {"name": "  ", "properties": {"path": "/"}},
    {"name": "page_viewed", "properties": "path=/p/17"},
    {"properties": {"path": "/c/sale"}},
) * 4  # fmt: skip


@dataclass(slots=True)
class Sorter:
    """Takes the month's events, passes the good on and keeps in `spoiled` those that a flaw befell, in place of the good one."""

    now: datetime
    spoiled: list[Happened] = field(default_factory=list)
    _done: Counter[int] = field(default_factory=Counter)
    _seen: Counter[str] = field(default_factory=Counter)

    def good(self, events: Iterable[Happened]) -> Iterator[Happened]:
        last: Happened | None = None
        place: int | None = None
        for event in events:
            if event is not last:
                last, place = event, self._flaw_of(event)
                if place is not None:
                    self._keep(event, place)
            if (
                place is None
            ):  # what comes twice is good twice: a spoiled one with a good twin could not be mended
                yield event

    def _flaw_of(self, event: Happened) -> int | None:
        name = event["name"]
        due = [
            place for place, flaw in enumerate(FLAWS) if flaw.name == name and self._done[place] < flaw.count
        ]
        if not due or event["occurred_at"] < self.now - SINCE:
            return None
        self._seen[name] += 1
        if self._seen[name] % 2:  # every other one is good
            return None
        return min(due, key=lambda place: self._done[place] / FLAWS[place].count)

    def _keep(self, event: Happened, place: int) -> None:
        spoiled = {**copy.deepcopy(event), "context": dict(APP)}
        FLAWS[place].spoil(spoiled["properties"], self._done[place])
        self._done[place] += 1
        self.spoiled.append(spoiled)
