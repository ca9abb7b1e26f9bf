from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.errors import UsageError
from mergeit_async.simulator.chance import Dice, Mix, stretch


@given(seed=st.integers(-(2**63), 2**63 - 1), key=st.binary())
def test_a_draw_is_inside_its_range_and_repeats(seed: int, key: bytes) -> None:
    roll = Dice(seed).roll(b"latency", key)

    assert 0 < roll < 1
    assert roll == Dice(seed).roll(b"latency", key)


def test_seed_purpose_and_key_each_change_the_draw() -> None:
    draws = {
        Dice(seed).roll(purpose, key)
        for seed in (0, 1)
        for purpose in (b"a", b"b")
        for key in (b"x", b"y")
    }

    assert len(draws) == 8


def test_draws_are_spread_evenly() -> None:
    rolls = [Dice(7).roll(b"x", b"%d" % number) for number in range(4000)]

    tenths = Counter(int(10 * roll) for roll in rolls)
    assert all(330 < tenths[tenth] < 470 for tenth in range(10))


def test_latencies_have_the_median_and_spread_asked_for() -> None:
    assert stretch(2.0, 0.0, 0.9) == 2.0
    assert stretch(2.0, 0.5, 0.5) == pytest.approx(2.0)
    # One standard deviation above the median.
    assert stretch(2.0, 0.5, 0.841344746) == pytest.approx(2.0 * 2.718281828**0.5)


def test_kinds_are_picked_by_their_rates() -> None:
    mix = Mix({"often": 3, "rarely": 1, "by_name": 0}, 0.4, {"by_name": 0.1})

    picked = Counter(mix.kind_at((step + 0.5) / 1000) for step in range(1000))

    assert picked == {"often": 300, "rarely": 100, "by_name": 100, None: 500}


def test_a_pick_follows_the_dice() -> None:
    mix = Mix({"a": 1, "b": 1}, 0.9, {})
    rolls = [(b"%d" % number, Dice(1).roll(b"x", b"%d" % number)) for number in range(50)]

    assert [mix.pick(Dice(1), b"x", key) for key, _ in rolls] == [
        mix.kind_at(roll) for _, roll in rolls
    ]


def test_a_rate_of_one_always_picks() -> None:
    mix = Mix(dict.fromkeys("abcdefghijk", 1), 1.0, {})

    assert mix.kind_at(1 - 2**-53) is not None


def test_without_rates_nothing_is_picked() -> None:
    assert Mix({"a": 1}, 0, {}).kind_at(2**-53) is None
    assert Mix({"a": 1}, 0, {}).pick(Dice(0), b"x", b"y") is None


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'c'; choose among a, b"):
        Mix({"a": 1, "b": 1}, 0, {"c": 0.5})


@pytest.mark.parametrize(
    ("rate", "named"),
    [(1.5, {}), (-0.1, {}), (0.6, {"a": 0.6}), (0, {"a": -0.2}), (0.5, {"a": -0.2})],
)
def test_rates_that_are_no_probabilities_are_refused(rate: float, named: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="0 to 1"):
        Mix({"a": 1, "b": 1}, rate, named)
