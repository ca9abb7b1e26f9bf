from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.compare.discordant import exact_share, paired_difference

COUNTS = st.integers(0, 60)


def test_pass_rates_are_tested_as_in_the_textbook():
    # Agresti, Categorical Data Analysis, approval ratings of a prime minister: of 1600 who were
    # asked twice, 150 turned away and 86 turned to approve.
    found = paired_difference(150, 86, 1600)
    tail = sum(math.comb(236, k) for k in range(87)) / 2**236
    assert found.p == pytest.approx(2 * tail)
    assert found.estimate == pytest.approx(-0.04)
    # His Wald interval for large samples is (-0.0587, -0.0213).
    assert (found.low, found.high) == pytest.approx((-0.0587, -0.0213), abs=0.0015)


def test_few_discordant_groups_have_the_p_of_a_coin():
    found = paired_difference(0, 6, 10)
    assert found.p == pytest.approx(2 / 2**6)
    assert found.low == pytest.approx((2 * 0.025 ** (1 / 6) - 1) * 0.6)
    assert found.high > 0.7, "more groups than the six may differ"


def test_groups_that_never_differ_have_no_difference():
    assert paired_difference(0, 0, 5) == (0.0, 0.0, 0.0, 1.0)


@given(COUNTS, COUNTS, st.integers(1, 200))
def test_the_interval_leaves_zero_out_where_the_test_alarms(only_a, only_b, others):
    found = paired_difference(only_a, only_b, only_a + only_b + others)
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)


@given(COUNTS, COUNTS, st.integers(1, 200))
def test_arms_that_change_places_change_the_sign(only_a, only_b, others):
    n = only_a + only_b + others
    there, back = paired_difference(only_a, only_b, n), paired_difference(only_b, only_a, n)
    assert there.p == back.p
    assert there[:3] == pytest.approx((-back.estimate, -back.high, -back.low))


def test_an_interval_of_arms_that_differ_in_one_direction_holds_the_truth():
    # Scaled by the discordant groups that were seen, it would end at the estimate itself and hold
    # the truth in half of all experiments.
    counts = np.random.default_rng(0).binomial(400, 0.03, 400)
    found = [paired_difference(0, only_b, 400) for only_b in counts.tolist()]
    assert np.mean([each.low <= 0.03 <= each.high for each in found]) > 0.92


def test_shares_have_exact_intervals_also_at_their_ends():
    assert exact_share(0, 0) is None
    assert exact_share(0, 10) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 10)))
    assert exact_share(10, 10) == pytest.approx((1.0, 0.025 ** (1 / 10), 1.0))
