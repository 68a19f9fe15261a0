"""What happens in the shop: one session of one visitor, page by page, with the requests that each page makes. Pure."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from events.demo.people import People, Visitor

Happened = dict[str, Any]  # an event in its sender's form; `occurred_at` is a datetime

# All of these are times before now.
BROKEN_SINCE, BROKEN_UNTIL = timedelta(days=9), timedelta(days=8)  # the release that fails on prices
SLOW_SINCE: Final = timedelta(days=4)  # the search lost an index
NUMBERS_SINCE: Final = timedelta(days=12)  # `discount` was a text like "10%", and is a number from then on
RELEASES: Final = ((timedelta(days=21), "4.0.3"), (BROKEN_SINCE, "4.1.0"), (BROKEN_UNTIL, "4.2.0"))
LATEST_RELEASE: Final = "4.2.1"

_CATEGORIES: Final = {"bags": 24, "mugs": 12, "lamps": 16, "prints": 20, "desks": 9, "sale": 27}
_WORDS: Final = (
    "desk lamp", "canvas bag", "backpack", "poster", "blue mug", "gift", "standing desk", "linen", "lamp shade",
    "oak shelf", "tote", "print a3", "cork board", "sale", "wall clock", "teapot",
)  # fmt: skip
# Median milliseconds and spread (sigma of the logarithm).
_ROUTES: Final = {
    "GET /api/home": (38, 0.45), "GET /api/categories/{slug}": (52, 0.5), "GET /api/products/{id}": (31, 0.4),
    "GET /api/products/{id}/reviews": (118, 0.7), "GET /api/recommendations": (240, 0.6), "GET /api/search": (95, 0.55),
    "POST /api/cart/items": (44, 0.4), "POST /api/checkout": (410, 0.5), "POST /api/accounts": (180, 0.4),
    "GET /api/orders": (160, 0.8), "POST /api/sessions": (130, 0.35),
}  # fmt: skip
_ERRORS: Final = {
    "POST /api/checkout": ("TypeError", "Cannot read properties of undefined (reading 'price')"),
    "GET /api/recommendations": ("TypeError", "Cannot read properties of undefined (reading 'price')"),
    "GET /api/search": ("TimeoutError", "No answer from the index within 2 s"),
}
_BROKEN: Final = {"POST /api/checkout": 0.34, "GET /api/recommendations": 0.22}  # by the release of that day
_OTHER_ERROR: Final = ("DatabaseError", "Too many connections")


def release_of(ago: timedelta) -> str:
    """The release that ran so long before now."""
    return next((release for until, release in RELEASES if ago > until), LATEST_RELEASE)


def price(sku: int) -> float:
    """The same for everybody, 4.90 to 150-odd."""
    return 4.9 + 2.5 * (sku * 37 % 59)


@dataclass(slots=True)
class Session:
    """Writes down in `events` what a visitor does from `clock` on; `now` is the end of the month that is told."""

    rng: Random
    people: People
    visitor: Visitor
    clock: datetime
    now: datetime
    id: str
    events: list[Happened] = field(default_factory=list)
    is_signed_in: bool = False
    pages: int = 0

    def run(self) -> list[Happened]:
        rng, visitor = self.rng, self.visitor
        self.is_signed_in = visitor.user_id is not None and rng.random() < 0.7
        self._page("/", "GET /api/home")
        if rng.random() < (0.12 if self.is_signed_in else 0.38):
            return self.events  # one look was enough
        if visitor.user_id is None and rng.random() < 0.09:
            self._sign_up()
        elif visitor.user_id and not self.is_signed_in and rng.random() < 0.6:
            self._request("POST /api/sessions")
            self.is_signed_in = True
            self._write("signed_in", method="password")
        viewed = self._browse()
        if viewed and rng.random() < (0.42 if self.is_signed_in else 0.26):
            self._buy(viewed)
        if self.is_signed_in and rng.random() < 0.2:
            self._page("/account/orders", "GET /api/orders")
        return self.events

    def _browse(self) -> list[int]:
        """Returns the products that were looked at."""
        rng, viewed = self.rng, []
        for _ in range(min(9, 1 + int(rng.expovariate(0.5)))):
            if rng.random() < 0.28:
                self._search()
            else:
                category = rng.choices(list(_CATEGORIES), list(_CATEGORIES.values()))[0]
                self._page(f"/c/{category}", "GET /api/categories/{slug}")
            if rng.random() < 0.6:
                sku = int(119 * rng.random() ** 1.7)
                self._page(f"/p/{sku}", "GET /api/products/{id}")
                self._request("GET /api/products/{id}/reviews", 0.5)
                self._write("product_viewed", sku=f"sku-{sku}", price=price(sku))
                viewed.append(sku)
        return viewed

    def _search(self) -> None:
        query = self.rng.choice(_WORDS)
        self._page("/search", "GET /api/search")
        self._write("search", query=query, results=max(0, round(self.rng.gauss(18, 12))))

    def _sign_up(self) -> None:
        self._page("/join", None)
        self._request("POST /api/accounts")
        self.people.sign_up(self.visitor)
        self.is_signed_in = True
        self._write(
            "signed_up", plan=self.visitor.plan, method=self.rng.choice(("e-mail", "e-mail", "google"))
        )

    def _buy(self, viewed: list[int]) -> None:
        rng = self.rng
        items: list[dict[str, Any]] = []
        for sku in viewed[: 1 + (rng.random() < 0.3)]:
            self._request("POST /api/cart/items")
            items.append({"sku": f"sku-{sku}", "price": price(sku), "quantity": rng.choice((1, 1, 1, 2, 3))})
            self._write("cart_added", **items[-1])
        if rng.random() > 0.61:
            return
        self._page("/checkout", None)
        self._write("checkout_started", items=len(items))
        if rng.random() > 0.72:
            return
        if not self._request("POST /api/checkout"):
            return
        if rng.random() < 0.05:
            self._write(
                "payment_failed", reason=rng.choice(("card_declined", "insufficient_funds", "expired"))
            )
            return
        off = rng.choice((0, 0, 0, 0, 5, 10, 15))
        amount = sum(item["price"] * item["quantity"] for item in items) * (100 - off) / 100
        number = f"order-{rng.getrandbits(40):010x}"
        self._write(
            "order_completed", id=number, order_id=number, amount=round(amount, 2),
            currency="CHF" if self.visitor.country == "CH" else "EUR", items=items,
            discount=off if self._ago() < NUMBERS_SINCE else f"{off}%",
            payment=rng.choice(("card", "card", "paypal", "invoice")),
        )  # fmt: skip
        self._page("/thanks", "GET /api/recommendations")

    def _page(self, path: str, route: str | None) -> None:
        visitor, first = self.visitor, not self.pages
        self.pages += 1
        self._pass(2 if first else 24)
        seen: dict[str, Any] = {
            "path": path,
            "browser": visitor.browser,
            "system": visitor.system,
            "country": visitor.country,
        }
        if first and visitor.referrer:
            seen["referrer"] = visitor.referrer
        self._write("page_viewed", **seen, load_ms=round(self.rng.lognormvariate(6.4, 0.5)))
        if route:
            self._request(route)
        if path in ("/", "/cart"):
            self._request("GET /api/recommendations", 0.5)

    def _request(self, route: str, chance: float = 1.0) -> bool:
        """Says whether it was answered well."""
        rng = self.rng
        if rng.random() > chance:
            return True
        self._pass(0.3)
        ago, (median, spread) = self._ago(), _ROUTES[route]
        slower = 3.4 if route == "GET /api/search" and ago < SLOW_SINCE else 1.0
        took = median * slower * rng.lognormvariate(0, spread)
        often = _BROKEN.get(route, 0.004) if BROKEN_UNTIL < ago < BROKEN_SINCE else 0.004
        fails = rng.random() < often
        status = 500 if fails else 404 if rng.random() < 0.012 else 201 if route.startswith("POST") else 200
        self._write("api_request", route=route, status=status, duration_ms=round(took, 1))
        if fails:
            kind, message = _ERRORS.get(route, _OTHER_ERROR)
            self._write("error_raised", type=kind, message=message, route=route, level="error")
        return not fails

    def _write(self, name: str, id: str | None = None, **properties: Any) -> None:
        self._pass(0.05)
        visitor = self.visitor
        event: Happened = {
            "name": name, "occurred_at": self.clock, "anonymous_id": visitor.anonymous_id, "session_id": self.id,
            "properties": properties, "context": {"platform": visitor.platform, "release": self._release()},
        }  # fmt: skip
        if self.is_signed_in:
            event["user_id"] = visitor.user_id
        if id:
            event["id"] = id
        self.events.append(event)

    def _pass(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds * self.rng.uniform(0.4, 1.9))

    def _ago(self) -> timedelta:
        return self.now - self.clock

    def _release(self) -> str:
        return release_of(self._ago())
