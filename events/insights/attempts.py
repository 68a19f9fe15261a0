"""The best attempt of each person at a funnel, as SQL: when each step was reached, in the three senses of order.

Each function returns CTEs, the last of which is `best`: the person's digest `p` and `t1` to `tn`, in epoch µs, NULL from the
first step on that was not reached. docs/insights.md defines what the best attempt is; tests compare with every attempt tried.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from events.insights.kind import Ask
from events.insights.scan import Scan

# One integer orders attempts by depth, then by time: a time in µs is below it until the year 2255.
_ABOVE_TIMES: Final = 1 << 53
_NEVER: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read: `steps` are the conditions of the steps and `where` that of all events, over the scan. An attempt begins
    before `until_us`. `begins`: makes SQL of what attempts may begin with: `p`, `t`, `id`, and the group `b` it puts them in.
    """

    scan: Scan
    steps: list[str]
    where: str
    until_us: int
    window_us: int
    begins: Callable[[], str] | None = None

    @property
    def events(self) -> str:
        return f"FROM {self.scan.sql()} WHERE person_h IS NOT NULL AND {self.where}"


def ordered(reading: Reading) -> list[str]:
    """Others may lie between. Plan: for every step its events, each with the latest start that can have come so far (a later one
    has done the same and has more time left), by one ASOF join. That start never decreases with time, so of the rows of
    one start only the earliest is kept. The best start's row of each step is then the earliest event that can meet it:
    had another start come between, that one would be the better.
    """
    number = len(reading.steps)
    ctes = [
        _matching(reading),
        f"s1 AS MATERIALIZED (SELECT DISTINCT p, t AS st, t FROM event WHERE m1 AND t < {reading.until_us})",
    ]
    for step in range(2, number + 1):
        ctes.append(
            f"s{step} AS MATERIALIZED (SELECT e.p, s.st, min(e.t) AS t FROM (SELECT p, t FROM event WHERE m{step}) e"
            f" ASOF JOIN s{step - 1} s ON e.p = s.p AND e.t > s.t WHERE e.t - s.st <= {reading.window_us} GROUP BY 1, 2)"
        )
    ranked = " UNION ALL ".join(
        f"SELECT p, st, {(number - step) * _ABOVE_TIMES} + t AS place FROM s{step}"
        for step in range(1, number + 1)
    )
    ctes.append(f"chosen AS (SELECT p, arg_min(st, place) AS t1 FROM ({ranked}) GROUP BY 1)")
    times = "".join(f", s{step}.t AS t{step}" for step in range(2, number + 1))
    joins = "".join(
        f" LEFT JOIN s{step} ON s{step}.p = chosen.p AND s{step}.st = chosen.t1"
        for step in range(2, number + 1)
    )
    return [*ctes, *_best(reading, f"SELECT chosen.p, chosen.t1{times} FROM chosen{joins}")]


def strict(reading: Reading) -> list[str]:
    """Nothing may lie between. Plan: the moments at which a person did anything are numbered, by one sort of narrow rows; of
    those that meet a step, the ones whose numbers follow each other are a run.
    """
    number = len(reading.steps)
    ahead = "".join(
        f", CASE WHEN lead(r, {step - 1}) OVER ahead = r + {step - 1}"
        f" THEN lead(CASE WHEN mask & {1 << step - 1} <> 0 THEN t END, {step - 1}) OVER ahead END AS n{step}"
        for step in range(2, number + 1)
    )
    reached = "".join(
        f", CASE WHEN t{step - 1} IS NOT NULL AND n{step} - t1 <= {reading.window_us} THEN n{step} END AS t{step}"
        for step in range(2, number + 1)
    )
    return [
        f"seen AS (SELECT person_h AS p, epoch_us(occurred_at) AS t, {_mask(reading.steps)} AS mask {reading.events})",
        "numbered AS (SELECT *, dense_rank() OVER (PARTITION BY p ORDER BY t) AS r FROM seen)",
        "event AS (SELECT p, t, r, bit_or(mask) AS mask FROM numbered WHERE mask <> 0 GROUP BY 1, 2, 3)",
        f"followed AS (SELECT p, t AS t1, mask & 1 = 1 AS begins{ahead} FROM event"
        " WINDOW ahead AS (PARTITION BY p ORDER BY t))",
        f"attempt AS (SELECT p, t1{reached} FROM followed WHERE begins AND t1 < {reading.until_us})",
        *_best_of_attempts(reading, f"{_missing(number)} * {_ABOVE_TIMES} + t1"),
    ]


def any_order(ask: Ask, reading: Reading) -> list[str]:
    """Each of the steps by an event of its own, in whatever order. How many are met by then is the size of the largest matching
    of steps and events: by Hall's theorem at least j of c steps are met once every set S of them has been met by |S| - (c - j)
    events. So the j-th is met when the last of the sets gets its event of that number. Plan: one window for all of them;
    steps that no event meets both of are counted apart, and are mostly all there are.
    """
    number = len(reading.steps)
    classes = list(dict.fromkeys(reading.steps))
    weights = [reading.steps.count(one) for one in classes]
    event = f"SELECT person_h AS p, epoch_us(occurred_at) AS t, {_mask(classes)} AS mask {reading.events}"
    masks = [
        row[0]
        for row in ask.run(
            f"SELECT DISTINCT mask FROM ({event}) WHERE mask <> 0 ORDER BY 1", reading.scan.parameters
        ).rows
    ]
    met = [term for part in _parts(len(classes), masks) for term in _met(part, weights)]
    reached = "".join(
        f", CASE WHEN met[{step}] - t <= {reading.window_us} THEN met[{step}] END AS t{step}"
        for step in range(2, number + 1)
    )
    last = f"greatest({', '.join(f't{step}' for step in range(1, number + 1))})"  # NULLs are left out
    return [
        f"event AS MATERIALIZED (SELECT * FROM ({event}) WHERE mask <> 0)",
        f"followed AS (SELECT p, t, list_sort([{', '.join(met)}]) AS met FROM event"
        " WINDOW ahead AS (PARTITION BY p ORDER BY t RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING))",
        f"attempt AS (SELECT p, t AS t1{reached} FROM followed WHERE t < {reading.until_us})",
        *_best_of_attempts(
            reading, f"({_missing(number)} * {_ABOVE_TIMES} + {last})::HUGEINT * {_ABOVE_TIMES} - t1"
        ),
    ]


def _matching(reading: Reading) -> str:
    flags = "".join(f", {step} AS m{place}" for place, step in enumerate(reading.steps, 1))
    any_of = " OR ".join(f"m{place}" for place in range(1, len(reading.steps) + 1))
    return (
        f"event AS MATERIALIZED (SELECT * FROM (SELECT person_h AS p, epoch_us(occurred_at) AS t{flags}"
        f" {reading.events}) WHERE {any_of})"
    )


def _mask(conditions: Iterable[str]) -> str:
    """SQL of eight bits, one for each condition that an event meets."""
    bits = [f"CASE WHEN {one} THEN {1 << place} ELSE 0 END" for place, one in enumerate(conditions)]
    return f"({' | '.join(f'({bit})' for bit in bits)})::UTINYINT"


def _missing(number: int) -> str:
    """SQL of how many steps an attempt has left."""
    return f"({' + '.join(f'(t{step} IS NULL)::BIGINT' for step in range(2, number + 1))})"


def _best_of_attempts(reading: Reading, place: str) -> list[str]:
    """`place`: SQL of an integer, the least is the best."""
    names = [f"t{step}" for step in range(1, len(reading.steps) + 1)]
    packed = ", ".join(f"{name} := {name}" for name in names)
    found = ", ".join(f"best.{name} AS {name}" for name in names)
    of_person = f"SELECT p, arg_min(struct_pack({packed}), {place}) AS best FROM attempt GROUP BY 1"
    return _best(reading, f"SELECT p, {found} FROM ({of_person})")


def _best(reading: Reading, select: str) -> list[str]:
    """With the group `b`, where there are any. Plan: it is looked for at the end, for it may have to be read out of JSON; of
    several events at one moment the one with the lowest id says it.
    """
    if reading.begins is None:
        return [f"best AS MATERIALIZED ({select})"]
    return [
        f"ungrouped AS MATERIALIZED ({select})",
        f"began AS (SELECT ungrouped.p, arg_min_null(b, id) AS b FROM ungrouped JOIN ({reading.begins()}) AS event"
        " ON event.p = ungrouped.p AND event.t = ungrouped.t1 GROUP BY 1)",
        "best AS MATERIALIZED (SELECT ungrouped.*, began.b FROM ungrouped JOIN began USING (p))",
    ]


# --- any order ---


def _parts(classes: int, masks: Iterable[int]) -> list[list[int]]:
    """The classes of steps, in parts that no event joins."""
    parts = [1 << place for place in range(classes)]
    for mask in masks:
        joined = [part for part in parts if part & mask]
        parts = [part for part in parts if not part & mask]
        parts.append(sum(joined))  # they have no bit in common
    return [[place for place in range(classes) if part >> place & 1] for part in sorted(parts)]


def _met(part: list[int], weights: list[int]) -> list[str]:
    """SQL of when, from an event on, the first, the second, … of a part's steps is met; never is a time too."""
    total = sum(weights[place] for place in part)
    sets = [chosen for size in range(1, len(part) + 1) for chosen in combinations(part, size)]
    found = []
    for number in range(1, total + 1):
        times = [
            _nth(chosen, weight - (total - number))
            for chosen in sets
            if (weight := sum(weights[place] for place in chosen)) > total - number
        ]
        found.append(f"greatest({', '.join(times)})")
    return found


def _nth(chosen: Iterable[int], number: int) -> str:
    """SQL of the time of the event of that number which meets one of the chosen."""
    mask = sum(1 << place for place in chosen)
    return f"coalesce(nth_value(CASE WHEN mask & {mask} <> 0 THEN t END, {number} IGNORE NULLS) OVER ahead, {_NEVER})"
