"""The best attempt of each person at a funnel, as SQL, where the steps may come in any order. In order: attempts.py."""

from collections.abc import Iterable
from typing import Final

from events.insights.attempts import ABOVE_TIMES, Reading, best_of_attempts, mask_of, missing
from events.insights.kind import Ask
from events.insights.matching import NEVER, kept

_EVENT: Final = "event"


def any_order(ask: Ask, reading: Reading) -> list[str]:
    """Each of the steps by an event of its own; step k is reached when k of them are met. Returns CTEs as attempts.py has them.

    Plan: equal steps that share no event with others are met by the next events that meet them, all in one window; mostly
    there are no others. Those that share events are put together by matching.py.
    """
    number = len(reading.steps)
    classes = list(dict.fromkeys(reading.steps))
    weights = [reading.steps.count(one) for one in classes]
    event = (
        f"SELECT * FROM (SELECT person_h AS p, epoch_us(occurred_at) AS t, id, {mask_of(classes)} AS mask {reading.events})"
        " WHERE mask <> 0"
    )
    masks = ask.run(f"SELECT DISTINCT mask FROM ({event}) ORDER BY 1", reading.scan.parameters).rows
    source, ctes, met, whole = _EVENT, [f"{_EVENT} AS ({event})"], [], ""
    for place, part in enumerate(_parts(len(classes), [mask for (mask,) in masks])):
        own = {one: weights[one] for one in part}
        if len(part) == 1:
            met += [_nth(part[0], nth) for nth in range(1, weights[part[0]] + 1)]
        else:
            name = f"kept{place}"
            ctes += kept(source, own, name)
            met += [f"{name}_{nth}" for nth in range(1, sum(own.values()) + 1)]
            source, whole = name, f" AND {name}_all"
    reached = "".join(
        f", CASE WHEN met[{step}] - t <= {reading.window_us} THEN met[{step}] END AS t{step}"
        for step in range(2, number + 1)
    )
    last = f"greatest({', '.join(f't{step}' for step in range(1, number + 1))})"  # NULLs are left out
    return [
        *ctes,
        f"followed AS (SELECT *, list_sort([{', '.join(met)}]) AS met FROM {source}"
        " WINDOW ahead AS (PARTITION BY p ORDER BY t RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING))",
        f"attempt AS (SELECT p, t AS t1{reached} FROM followed WHERE t < {reading.until_us}{whole})",
        *best_of_attempts(
            reading, f"({missing(number)} * {ABOVE_TIMES} + {last})::HUGEINT * {ABOVE_TIMES} - t1"
        ),
    ]


def _parts(classes: int, masks: Iterable[int]) -> list[list[int]]:
    """The classes of steps, in parts that no event joins."""
    parts = [1 << place for place in range(classes)]
    for mask in masks:
        joined = [part for part in parts if part & mask]
        parts = [part for part in parts if not part & mask]
        parts.append(sum(joined))  # they have no bit in common
    return [[place for place in range(classes) if part >> place & 1] for part in sorted(parts)]


def _nth(one: int, number: int) -> str:
    """SQL of when, from an event on, the event of that number comes which meets a step."""
    return f"coalesce(nth_value(CASE WHEN mask & {1 << one} <> 0 THEN t END, {number} IGNORE NULLS) OVER ahead, {NEVER})"
