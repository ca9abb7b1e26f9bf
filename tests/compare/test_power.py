from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from mergeit_async.compare.power import (
    discordance,
    foresee,
    groups_for_mean_difference,
    groups_for_pass_difference,
    mcnemar_power,
    mean_power,
    smallest_mean_difference,
    smallest_pass_difference,
)


@pytest.mark.parametrize("level", [0.05, 0.05 / 8])
def test_power_of_the_exact_test_is_that_of_all_its_outcomes(level):
    n, only_a, only_b = 12, 0.1, 0.5
    power = 0.0
    for b in range(n + 1):
        for a in range(n + 1 - b):
            rest = n - a - b
            ways = np.prod(np.arange(n - b + 1, n + 1)) / np.prod(np.arange(1, b + 1))
            ways *= np.prod(np.arange(rest + 1, n - b + 1)) / np.prod(np.arange(1, a + 1))
            chance = ways * only_b**b * only_a**a * (1 - only_a - only_b) ** rest
            if a + b and binomtest(b, a + b).pvalue <= level:
                power += chance
    assert mcnemar_power(n, 0.4, 0.6, level) == pytest.approx(power)


def test_power_without_a_difference_is_at_most_the_level():
    for n in (5, 20, 100, 400):
        assert mcnemar_power(n, 0.0, 0.3) <= 0.05
    assert mean_power(100, 0.0) == pytest.approx(0.05)


def test_known_sample_sizes_are_found_again():
    # Cohen (1988): 34 pairs for a medium effect of 0.5, 199 for a small one of 0.2.
    assert groups_for_mean_difference(0.5) == 34
    assert groups_for_mean_difference(0.2) == 199
    # Connor (1987) for McNemar without continuity: the exact test needs about 5 % more.
    spread = 0.3
    z = norm.isf(0.025), norm.isf(0.2)
    connor = (z[0] * spread**0.5 + z[1] * (spread - 0.1**2) ** 0.5) ** 2 / 0.1**2
    apart = groups_for_pass_difference(0.1, pass_rate=0.5, agreement=0.41414)
    assert discordance(0.5, 0.1, 0.41414) == pytest.approx(spread, abs=0.001)
    assert connor < apart < 1.1 * connor


@settings(deadline=None, max_examples=40)
@given(st.integers(6, 3000), st.floats(0.02, 0.98), st.floats(0, 0.9))
def test_the_smallest_difference_has_the_power_that_is_promised(n, pass_rate, agreement):
    found = smallest_pass_difference(n, pass_rate=pass_rate, agreement=agreement)
    if found is not None:
        apart = discordance(pass_rate, found, agreement)
        assert abs(found) <= apart + 1e-12 <= 1 + 1e-9
        assert mcnemar_power(n, found, apart) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("n", [8, 50, 400, 4999, 5001, 100_000])
@pytest.mark.parametrize("level", [0.05, 0.05 / 24])
def test_the_smallest_mean_has_the_power_that_is_promised(n, level):
    found = smallest_mean_difference(n, level)
    if found is not None:
        assert mean_power(n, found, level) == pytest.approx(0.8, abs=1e-3)
        normal = (norm.isf(level / 2) + norm.isf(0.2)) / n**0.5
        assert 0.9999 * normal <= found <= normal * (1 + 8 / n**0.5)


def test_more_groups_show_smaller_differences():
    sizes = (50, 100, 400, 1600)
    found = [smallest_pass_difference(n) for n in sizes]
    assert found == sorted(found, reverse=True)
    assert found[2] == pytest.approx(2 * found[3], rel=0.1), "with the square root of their number"


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_so_few_groups_show_nothing(n):
    assert smallest_pass_difference(n) is None
    assert smallest_mean_difference(n) is None
    foresight = foresee(n, 8)
    assert (foresight.pass_difference, foresight.mean_difference) == (None, None)
    assert "too few" in foresight.hint


def test_a_hint_names_how_many_groups_would_do():
    foresight = foresee(400, 8, worth=0.05)
    assert foresight.level == 0.05 / 8
    assert foresight.pass_difference > 0.05
    assert foresight.mean_groups == round(400 * 0.85**2)
    assert foresight.mean_difference == smallest_mean_difference(289, 0.05 / 8)
    assert str(foresight.groups_needed) in foresight.hint
    enough = foresee(foresight.groups_needed, 8, worth=0.05)
    assert enough.hint == ""
    assert enough.pass_difference <= 0.05 + 1e-3


def test_a_difference_that_no_run_can_show_has_no_number_of_groups():
    assert groups_for_pass_difference(0.0) is None
    assert groups_for_mean_difference(0.0) is None
    assert "No number of groups" in foresee(400, 8, worth=0.0).hint


def test_a_mean_is_not_promised_at_a_level_that_resampling_cannot_reach():
    assert smallest_mean_difference(400, 0.05 / 1000) is None
