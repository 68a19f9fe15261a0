"""How the numbers of a property are spread, as SQL: four rows for each factor of ten, negative ones and zeroes apart."""

from typing import Any, Final

NEGATIVE: Final = -2
ZERO: Final = -1
# Written out, so that SQL, this file and whoever reads the answer compare with the very same numbers.
BOUNDS: Final = (
    *(float(f"{digits}e{power}") for power in range(-6, 12) for digits in ("1", "1.78", "3.16", "5.62")),
    1e12,
)
ROWS: Final = len(BOUNDS) + 3


def row_of(number: str) -> str:
    """SQL of the row that a number lies in: 0 below all bounds, else the place of the last bound that is not above it, from 1."""
    row = _by_bisection(number, BOUNDS, 0)
    return f"(CASE WHEN {number} < 0 THEN {NEGATIVE} WHEN {number} = 0 THEN {ZERO} ELSE {row} END)"


def shown(cells: list[list[Any]], columns: int) -> dict[str, Any]:
    """Takes (column, row, count) of each cell that is not empty; rows without any above or below them all are left out."""
    counts: dict[int, list[int]] = {}
    for column, row, count in cells:
        counts.setdefault(row, [0] * columns)[column] = count
    positive = [row for row in counts if row >= 0]
    span = range(min(positive), max(positive) + 1) if positive else range(0)
    return {
        "negative": counts.get(NEGATIVE, [0] * columns),
        "zero": counts.get(ZERO, [0] * columns),
        "rows": [
            {
                "from": BOUNDS[row - 1] if row else 0.0,
                "until": BOUNDS[row] if row < len(BOUNDS) else None,
                "counts": counts.get(row, [0] * columns),
            }
            for row in span
        ],
    }


def _by_bisection(number: str, bounds: tuple[float, ...], below: int) -> str:
    if not bounds:
        return str(below)
    half = len(bounds) // 2
    low = _by_bisection(number, bounds[:half], below)
    high = _by_bisection(number, bounds[half + 1 :], below + half + 1)
    # An exponent makes the literal a DOUBLE; without one it would be a DECIMAL.
    return f"(CASE WHEN {number} < {bounds[half]:.2e} THEN {low} ELSE {high} END)"
