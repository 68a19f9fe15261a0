"""When one more of several steps is met, against steps handed round event by event (augmenting paths)."""

import random
from itertools import groupby

import duckdb
import pytest

from events.insights.matching import NEVER, kept

Event = tuple[int, int, int, int]  # person, time, id, mask
WEIGHTS = [
    {0: 1, 1: 1},
    {1: 3, 4: 2},
    {0: 1, 1: 1, 2: 1, 3: 1, 4: 1},
    {2: 2, 3: 1, 5: 1, 6: 1, 7: 1},
    dict.fromkeys(range(7), 1),
    {0: 2, **dict.fromkeys(range(1, 7), 1)},  # 192 sets of steps: three words, bits that move between them
    {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 3},
    dict.fromkeys(range(8), 1),
    {3: 8},
]


def events_of(chance: random.Random, weights: dict[int, int]) -> list[Event]:
    """Masks of one or two steps mostly, so that there is something to hand round; several at one moment; ids in no order."""
    found = []
    for person in range(60):
        for _ in range(chance.randrange(1, 28)):
            bits = chance.sample(list(weights), min(len(weights), chance.choice([0, 1, 1, 1, 2, 2, 2, 3, 8])))
            mask = sum(1 << bit for bit in bits) | (chance.random() < 0.2) << 8
            found.append((person, chance.randrange(30), chance.getrandbits(40), mask))
    return found


def met(own: list[Event], weights: dict[int, int]) -> list[int]:
    """By the earliest events, one after the other: when one more step could be met."""
    steps = [bit for bit, weight in weights.items() for _ in range(weight)]
    met_by: dict[int, int] = {}

    def is_met(mask: int, seen: set[int]) -> bool:
        for place, bit in enumerate(steps):
            if mask >> bit & 1 and place not in seen:
                seen.add(place)
                if place not in met_by or is_met(met_by[place], seen):
                    met_by[place] = mask
                    return True
        return False

    times = [time for _, time, _, mask in sorted(own) if is_met(mask, set())]
    return times + [NEVER] * (len(steps) - len(times))


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_steps_are_met_as_early_as_can_be_from_every_moment(weights: dict[int, int], seed: int) -> None:
    events = events_of(random.Random(seed), weights)
    columns = ", ".join(f"k_{number}" for number in range(1, sum(weights.values()) + 1))
    with duckdb.connect() as duck:
        duck.execute("CREATE TABLE event (p INT, t BIGINT, id BIGINT, mask USMALLINT)")
        duck.execute(
            "INSERT INTO event SELECT unnest(?), unnest(?), unnest(?), unnest(?)",
            [*zip(*events, strict=True)],
        )
        sql = f"WITH {', '.join(kept('event', weights, 'k'))} SELECT p, t, {columns} FROM k WHERE k_all ORDER BY p, t"
        found = duck.execute(sql).fetchall()
    wanted = []
    for person, own in groupby(sorted(events), key=lambda event: event[0]):
        ahead = list(own)
        for time in sorted({event[1] for event in ahead}):
            wanted.append((person, time, *met([event for event in ahead if event[1] >= time], weights)))
    assert found == wanted
    assert any(row[-1] < NEVER for row in wanted)
