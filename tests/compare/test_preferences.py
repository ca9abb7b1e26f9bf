from __future__ import annotations

import math

import numpy as np
import pytest

from mergeit_async.compare.metrics import PREFERENCE, Paired
from mergeit_async.compare.preferences import count_preferences


def test_preferences_are_counted_over_both_orders():
    a_first = np.array([1.0, -1, -1, 1, 0, 0, math.nan])
    b_first = np.array([1.0, -1, 1, -1, 0, 1, 1.0])
    found = count_preferences(Paired(PREFERENCE, a_first, b_first))
    assert (found.n, found.left_out) == (6, 1)
    assert (found.wins_a, found.wins_b, found.ties) == (1, 1, 4)
    assert (found.first_wins, found.second_wins) == (1, 1)
    assert found.win_rate == 0.5
    assert found.position_bias == 0.5, "in three of six the orders disagree"
    assert found.bias_low < 0.5 < found.bias_high


def test_a_judge_that_always_takes_the_first_only_makes_ties():
    found = count_preferences(Paired(PREFERENCE, np.full(20, -1.0), np.full(20, 1.0)))
    assert (found.ties, found.win_rate, found.position_bias) == (20, None, 1.0)
    assert (found.first_wins, found.second_wins) == (20, 0)


def test_win_rates_have_exact_intervals():
    found = count_preferences(Paired(PREFERENCE, np.ones(10), np.ones(10)))
    assert (found.win_rate, found.win_high) == (1.0, 1.0)
    assert found.win_low == pytest.approx(0.025 ** (1 / 10))
    assert (found.position_bias, found.bias_high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))


def test_nothing_was_preferred_in_no_group():
    found = count_preferences(Paired(PREFERENCE, np.empty(0), np.empty(0)))
    assert (found.n, found.win_rate, found.position_bias) == (0, None, None)
