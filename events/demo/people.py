"""Who comes to the shop: visitors with a home, a browser and habits, and on which day they come back. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

NEW: Final = 0.46  # of a day's sessions are a visitor's first
FADES: Final = 0.85  # who came n days ago comes with a weight of n to the power of minus this
BEFORE_DAYS: Final = 20  # the shop was open before the month that is told
WEEK: Final = (1.08, 1.05, 1.02, 1.0, 0.96, 0.78, 0.86)  # Monday to Sunday
GROWTH: Final = 0.35  # over the month

_COUNTRIES: Final = {"DE": 52, "AT": 13, "CH": 10, "NL": 7, "FR": 6, "PL": 5, "GB": 4, "US": 3}
_REFERRERS: Final = {
    "": 34, "google.com": 31, "newsletter": 11, "instagram.com": 9, "bing.com": 5, "duckduckgo.com": 4,
    "partner.example": 4, "reddit.com": 2,
}  # fmt: skip
_DEVICES: Final = {
    ("web", "Chrome", "Windows"): 26, ("web", "Safari", "iOS"): 19, ("web", "Chrome", "Android"): 17,
    ("web", "Firefox", "Linux"): 7, ("web", "Safari", "macOS"): 9, ("web", "Edge", "Windows"): 6,
    ("android", "App", "Android"): 9, ("ios", "App", "iOS"): 7,
}  # fmt: skip
_PLANS: Final = {"free": 78, "plus": 18, "team": 4}


def drawn(rng: Random, weights: Mapping[T, int]) -> T:
    """One of the keys, by its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


@dataclass(slots=True)
class Visitor:
    """`anonymous_id` is a browser's; `user_id` comes with the account. `loyalty` weighs how gladly they return."""

    anonymous_id: str
    first_day: int
    country: str
    referrer: str
    platform: str
    browser: str
    system: str
    plan: str
    loyalty: float
    user_id: str | None = None


@dataclass(slots=True)
class People:
    """Everybody who ever came, in the order of coming. Days are numbered from 0, the first of the month that is told."""

    rng: Random
    known: list[Visitor] = field(default_factory=list)
    accounts: int = 1_000

    def open_before(self, sessions_a_day: float) -> None:
        """Fills in those who came before the month began: some of them have an account."""
        for day in range(-BEFORE_DAYS, 0):
            for _ in range(round(sessions_a_day * NEW * 0.7)):
                visitor = self._new(day)
                if self.rng.random() < 0.12:
                    self.sign_up(visitor)

    def of_day(self, day: int, weekday: int, days: int, sessions_a_day: float) -> list[Visitor]:
        """Returns who comes on a day, a person for each session."""
        trend = 1 - GROWTH / 2 + GROWTH * day / max(1, days - 1)
        sessions = max(2, round(sessions_a_day * WEEK[weekday] * trend * self.rng.uniform(0.95, 1.05)))
        new = max(1, round(sessions * NEW))
        weights = [visitor.loyalty * (day - visitor.first_day + 1) ** -FADES for visitor in self.known]
        returning = self.rng.choices(self.known, weights, k=sessions - new) if self.known else []
        return [self._new(day) for _ in range(new)] + returning

    def one(self, day: int) -> Visitor:
        """Somebody new, or one who came lately."""
        if not self.known or self.rng.random() < NEW:
            return self._new(day)
        return self.rng.choice(self.known[-2_000:])

    def sign_up(self, visitor: Visitor) -> None:
        self.accounts += 1
        visitor.user_id = f"user_{self.accounts}"
        visitor.loyalty *= 3

    def _new(self, day: int) -> Visitor:
        rng = self.rng
        platform, browser, system = drawn(rng, _DEVICES)
        visitor = Visitor(
            anonymous_id=f"a-{rng.getrandbits(48):012x}",
            first_day=day,
            country=drawn(rng, _COUNTRIES),
            referrer=drawn(rng, _REFERRERS) if platform == "web" else "",
            platform=platform,
            browser=browser,
            system=system,
            plan=drawn(rng, _PLANS),
            loyalty=rng.lognormvariate(0, 1),
        )
        self.known.append(visitor)
        return visitor
