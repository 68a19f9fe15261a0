"""Different and frequent values, against counting them."""

import random
from collections import Counter

import pytest

from events.catalogue import sketch


def digests(values: range) -> list[bytes]:
    return [sketch.digest(str(value).encode()) for value in values]


@pytest.mark.parametrize("number", [0, 1, 10, 100, 1_000, 10_000, 100_000])
def test_different_values_are_counted_within_three_standard_errors(number: int) -> None:
    registers = sketch.add(None, digests(range(number)))
    assert sketch.estimate(registers) == pytest.approx(number, rel=0.14, abs=1)
    assert len(registers) == 512


def test_what_is_added_twice_or_in_parts_counts_once() -> None:
    parts = sketch.add(sketch.add(None, digests(range(600))), digests(range(400, 1_000)))
    assert parts == sketch.add(memoryview(parts), digests(range(1_000)))
    assert parts == sketch.add(None, digests(range(1_000)))
    assert sketch.estimate(None) == 0


def test_frequent_values_are_never_overcounted_and_undercounted_within_the_bound() -> None:
    chance = random.Random(3)
    true: Counter[str] = Counter()
    kept: dict[str, int] = {}
    all_kept = True
    for _ in range(60):
        part = Counter(f"v{int(chance.paretovariate(0.9))}" for _ in range(200))
        true += part
        kept, is_all = sketch.merged(kept, part, at_most=40)
        all_kept = all_kept and is_all
    assert len(kept) <= 40
    assert not all_kept
    least = true.total() / 41
    for value, count in true.items():
        assert count - least <= kept.get(value, 0) <= count
    assert list(kept)[:5] == [value for value, _ in true.most_common(5)]


def test_few_values_are_counted_exactly() -> None:
    assert sketch.merged({"a": 2}, {"b": 3, "a": 1}, at_most=2) == ({"a": 3, "b": 3}, True)
    assert sketch.merged({"a": 2}, {"b": 3, "c": 1}, at_most=2) == ({"b": 2, "a": 1}, False)
