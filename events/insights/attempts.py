"""The best attempt of each person at a funnel, as SQL: when each step was reached, in order. In any order: any_order.py.

`ordered` and `strict` return CTEs, the last of which is `best`: the person's digest `p` and `t1` to `tn`, in epoch µs, NULL from
the first step on that was not reached. docs/insights.md says what the best attempt is; tests compare with every attempt tried.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from events.insights.scan import Scan

# One integer orders attempts by depth, then by time: a time in µs is below it until the year 2255.
ABOVE_TIMES: Final = 1 << 53


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
        f"SELECT p, st, {(number - step) * ABOVE_TIMES} + t AS place FROM s{step}"
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
        f"seen AS (SELECT person_h AS p, epoch_us(occurred_at) AS t, {mask_of(reading.steps)} AS mask {reading.events})",
        "numbered AS (SELECT *, dense_rank() OVER (PARTITION BY p ORDER BY t) AS r FROM seen)",
        "event AS (SELECT p, t, r, bit_or(mask) AS mask FROM numbered WHERE mask <> 0 GROUP BY 1, 2, 3)",
        f"followed AS (SELECT p, t AS t1, mask & 1 = 1 AS begins{ahead} FROM event"
        " WINDOW ahead AS (PARTITION BY p ORDER BY t))",
        f"attempt AS (SELECT p, t1{reached} FROM followed WHERE begins AND t1 < {reading.until_us})",
        *best_of_attempts(reading, f"{missing(number)} * {ABOVE_TIMES} + t1"),
    ]


def _matching(reading: Reading) -> str:
    flags = "".join(f", {step} AS m{place}" for place, step in enumerate(reading.steps, 1))
    any_of = " OR ".join(f"m{place}" for place in range(1, len(reading.steps) + 1))
    return (
        f"event AS MATERIALIZED (SELECT * FROM (SELECT person_h AS p, epoch_us(occurred_at) AS t{flags}"
        f" {reading.events}) WHERE {any_of})"
    )


def mask_of(conditions: Iterable[str]) -> str:
    """SQL of eight bits, one for each condition that an event meets."""
    bits = [f"CASE WHEN {one} THEN {1 << place} ELSE 0 END" for place, one in enumerate(conditions)]
    return f"({' | '.join(f'({bit})' for bit in bits)})::UTINYINT"


def missing(number: int) -> str:
    """SQL of how many steps an attempt has left."""
    return f"({' + '.join(f'(t{step} IS NULL)::BIGINT' for step in range(2, number + 1))})"


def best_of_attempts(reading: Reading, place: str) -> list[str]:
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
