"""When one more of several steps is met, as SQL, where one event can meet more than one of them.

Of all events from a start on, those are kept, by time, with which one more step can be met: as matchings have it, a later
event is never the better one to keep. Gone through backwards, each event comes before all that are kept, and at most one of
those goes. So a person's state is as many cells as there are steps: cell j holds when the j-th step is met (`u`), and which
sets of j steps the first j kept events can meet, one bit for each set (`c`). With one more event in front, cell j takes what
cell j - 1 held, each set with a step more that the event meets. If no set is left, cell j stays: the event takes the place of
a later one among those before. A cell looks only at the one before it, as that was an event ago: one window for each.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import prod
from typing import Final

NEVER: Final = 1 << 60  # is a time too
_WORD: Final = 64
_ALL_BITS: Final = (1 << _WORD) - 1


def kept(source: str, weights: dict[int, int], name: str) -> list[str]:
    """Takes a table with `p`, `t`, `id` and `mask`; by its place in the mask, how many equal steps a bit stands for.

    Returns CTEs, the last of which, `{name}`, is the table with `{name}_1`, `{name}_2`, …: when the first step is met, the
    second, …, by an event and all after it; and `{name}_all`: of events at one moment only one has the others with it.
    Plan: a sort of all rows for each step, however many steps an event meets; it spills.
    """
    sets, number = _Sets(weights), sum(weights.values())
    cells = [f"c{word}" for word in range(sets.words)]
    olds = [f"old_{cell}" for cell in cells]
    first = ", ".join(f"{int(not word)}::UBIGINT AS {old}" for word, old in enumerate(olds))
    held = f"SELECT *, t AS old_u, {first} FROM {source}"
    ctes = []
    for step in range(1, number + 1):
        news = ", ".join(f"{sets.moved(word, olds)} AS new_{cell}" for word, cell in enumerate(cells))
        is_any = f"({' | '.join(f'new_{cell}' for cell in cells)}) <> 0"
        taken = ", ".join(f"CASE WHEN {is_any} THEN new_{cell} END AS {cell}" for cell in cells)
        dropped = ", ".join([*olds, *(f"new_{cell}" for cell in cells), *sets.guards.values()])
        ctes.append(
            f"{name}_at_{step} AS (SELECT * EXCLUDE (old_u, {dropped}), CASE WHEN {is_any} THEN old_u END AS u, {taken}"
            f" FROM (SELECT *, {news} FROM (SELECT *, {sets.guarded} FROM ({held}))))"
        )
        before = ", ".join(
            f"last_value({column} IGNORE NULLS) OVER before AS old_{column}" for column in ["u", *cells]
        )
        if step == number:
            before += f", (lead(t) OVER before IS DISTINCT FROM t) AS {name}_all"
        held = (
            f"SELECT * EXCLUDE (u, {', '.join(cells)}), coalesce(u, old_u, {NEVER}) AS {name}_{step} FROM (SELECT *, {before}"
            f" FROM {name}_at_{step} WINDOW before AS"
            " (PARTITION BY p ORDER BY t DESC, id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))"
        )
    return [*ctes, f"{name} AS (SELECT * EXCLUDE (old_u, {', '.join(olds)}) FROM ({held}))"]


class _Sets:
    """Sets of steps as bits of a number, in words: of equal steps it only counts how many are in a set, so a set is the number
    whose digits say how many of each. One step more moves the bits of all sets with room for it by that digit's place.
    """

    def __init__(self, weights: dict[int, int]) -> None:
        self.words = -(-prod(weight + 1 for weight in weights.values()) // _WORD)
        # By (bit of the mask, bits that move): the name of a column that is these bits where the mask has that bit, else 0.
        self.guards: dict[tuple[int, int], str] = {}
        # Of a word: from which word, which bits, how far.
        self._terms: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
        place = 1
        for bit, weight in weights.items():
            self._move(bit, weight, place)
            place *= weight + 1

    def _move(self, bit: int, weight: int, place: int) -> None:
        far, near = divmod(place, _WORD)
        for word in range(self.words):
            movable = sum(
                1 << number
                for number in range(_WORD)
                if (word * _WORD + number) // place % (weight + 1) < weight
            )
            for target, bits, shift in (
                (word + far, movable & _ALL_BITS >> near, near),
                (word + far + 1, movable & ~(_ALL_BITS >> near), near - _WORD),
            ):
                if bits and target < self.words:
                    guard = self.guards.setdefault((bit, bits), f"guard{len(self.guards)}")
                    self._terms[target].append((word, guard, shift))

    @property
    def guarded(self) -> str:
        """SQL of the guards' columns."""
        return ", ".join(
            f"CASE WHEN mask & {1 << bit} <> 0 THEN {bits}::UBIGINT ELSE 0::UBIGINT END AS {guard}"
            for (bit, bits), guard in self.guards.items()
        )

    def moved(self, word: int, olds: Sequence[str]) -> str:
        """SQL of a word of all sets with one step more."""
        found = []
        for source, guard, shift in self._terms[word]:
            move = f" << {shift}::UBIGINT" if shift > 0 else f" >> {-shift}::UBIGINT" if shift else ""
            found.append(f"(({olds[source]} & {guard}){move})")
        return " | ".join(found) or "0::UBIGINT"
