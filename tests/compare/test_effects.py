from __future__ import annotations

import math
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap, ttest_rel

from mergeit_async.compare.effects import ALL_EQUAL, CONSTANT, NO_GROUP, NO_MERGE, measure_effect
from mergeit_async.compare.metrics import (
    COST_PER_MERGE,
    JUDGE_SCORE,
    PASSED,
    PREFERENCE,
    Effect,
    Paired,
    PairedRatio,
)
from mergeit_async.errors import UsageError

NAN = math.nan
CODES = st.sampled_from([0.0, 1.0, NAN])
ORDERS = st.sampled_from([-1.0, 0.0, 1.0, NAN])
ANYTHING = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, 1.0, 1 + 1e-15, 1e308, -1e308, 5e-324, 3.5]),
)


def pairs(metric: Any, element: st.SearchStrategy[float]) -> st.SearchStrategy[Paired]:
    def build(n: int) -> st.SearchStrategy[Paired]:
        values = arrays(np.float64, n, elements=element, fill=st.nothing())
        return st.builds(Paired, st.just(metric), values, values)

    return st.integers(0, 25).flatmap(build)


def ratios() -> st.SearchStrategy[PairedRatio]:
    def build(n: int) -> st.SearchStrategy[PairedRatio]:
        spent = arrays(np.float64, n, elements=ANYTHING, fill=st.nothing())
        accepted = arrays(np.float64, n, elements=CODES, fill=st.nothing())
        return st.builds(PairedRatio, st.just(COST_PER_MERGE), spent, accepted, spent, accepted)

    return st.integers(0, 25).flatmap(build)


def swap(paired: Paired | PairedRatio) -> Paired | PairedRatio:
    if isinstance(paired, PairedRatio):
        return PairedRatio(
            paired.metric, paired.spent_b, paired.accepted_b, paired.spent_a, paired.accepted_a
        )
    if paired.metric is PREFERENCE:
        return Paired(paired.metric, -paired.b, -paired.a)
    return Paired(paired.metric, paired.b, paired.a)


ANY_PAIR = st.one_of(
    pairs(PASSED, CODES), pairs(PREFERENCE, ORDERS), pairs(JUDGE_SCORE, ANYTHING), ratios()
)


def mean_of(*differences: float) -> Effect:
    b = np.array(differences)
    return measure_effect(Paired(JUDGE_SCORE, np.zeros(len(b)), b), 0)


@settings(max_examples=150, deadline=None)
@given(ANY_PAIR)
def test_every_effect_is_made_of_numbers_that_agree(paired):
    effect = measure_effect(paired, 7)
    assert all(math.isfinite(value) for value in astuple(effect) if isinstance(value, float))
    assert 0 < effect.p <= 1
    assert effect.p_wilcoxon is None or 0 < effect.p_wilcoxon <= 1
    if effect.low is not None:
        slack = 1e-9 * max(abs(effect.low), abs(effect.high))
        assert effect.low - slack <= effect.estimate <= effect.high + slack


@settings(max_examples=100, deadline=None)
@given(ANY_PAIR)
@example(Paired(JUDGE_SCORE, np.arange(30.0) ** 2, np.arange(30.0)[::-1] ** 2))
def test_arms_that_change_places_change_the_sign_alone(paired):
    there, back = measure_effect(paired, 7), measure_effect(swap(paired), 7)
    assert (there.p, there.n, there.left_out) == (back.p, back.n, back.left_out)
    assert there.p_wilcoxon == (back.p_wilcoxon and pytest.approx(back.p_wilcoxon))
    if there.estimate is not None:
        assert there.estimate == pytest.approx(-back.estimate, rel=1e-6, abs=1e-300)
    if there.low is not None:
        size = max(abs(there.low), abs(there.high))
        assert there.low == pytest.approx(-back.high, rel=1e-6, abs=1e-9 * size)
        assert there.high == pytest.approx(-back.low, rel=1e-6, abs=1e-9 * size)


@settings(max_examples=100, deadline=None)
@given(st.one_of(pairs(PASSED, CODES), pairs(PREFERENCE, ORDERS)))
def test_the_exact_interval_leaves_zero_out_where_the_exact_test_alarms(paired):
    effect = measure_effect(paired, 0)
    if effect.low is not None:
        assert (effect.p <= 0.05) == (not effect.low <= 0 <= effect.high)


def test_means_are_tested_nearly_as_by_students_t():
    generator = np.random.default_rng(1)
    a = generator.normal(size=300)
    b = a + generator.normal(0.1, 1, 300)
    effect = measure_effect(Paired(JUDGE_SCORE, a, b), 0)
    student = ttest_rel(b, a)
    assert effect.p == pytest.approx(student.pvalue, abs=0.01)
    interval = student.confidence_interval()
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), abs=0.02)


def test_darwins_maize_has_the_p_that_fisher_found():
    # Fisher, The Design of Experiments (1935), section 21: 15 pairs of plants, in eighths of an
    # inch. Of the 2**15 patterns of signs, 1726 have a sum as far from 0.
    effect = mean_of(49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)
    assert effect.estimate == pytest.approx(314 / 15)
    assert effect.p == pytest.approx(1726 / 2**15, abs=0.006)


def test_few_groups_are_tested_by_all_patterns_of_signs():
    assert mean_of(1, 2, 3, 4, 5, 6).p == pytest.approx(2 / 2**6)
    assert mean_of(1, 2, 3, 4, 5, -6).p == pytest.approx(2 * 14 / 2**6)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 400])
@pytest.mark.parametrize("metric", [PASSED, JUDGE_SCORE, PREFERENCE])
def test_ties_raise_no_alarm(metric, n):
    ones = np.ones(n)
    other = ones if metric is not PREFERENCE else -ones
    effect = measure_effect(Paired(metric, ones, other), 0)
    assert (effect.p, effect.p_wilcoxon in (None, 1.0)) == (1.0, True)
    assert effect.note == (ALL_EQUAL if n else NO_GROUP)
    assert effect.low in (None, 0.0) and effect.high in (None, 0.0)


def test_groups_without_a_value_are_left_out_and_counted():
    a = np.array([1.0, NAN, 2.0, 3.0, math.inf])
    b = np.array([2.0, 1.0, NAN, 4.0, 1.0])
    effect = measure_effect(Paired(JUDGE_SCORE, a, b), 0)
    assert (effect.n, effect.left_out, effect.estimate) == (2, 3, 1.0)
    assert (effect.low, effect.p) == (None, 0.5)


def test_a_difference_that_never_varies_is_an_effect_without_spread():
    effect = mean_of(*[2.0] * 20)
    assert (effect.low, effect.high, effect.note) == (2.0, 2.0, CONSTANT)
    assert effect.p == pytest.approx(2 / 10_000)


def test_one_group_that_outweighs_all_others_proves_nothing():
    found = np.where(np.arange(200) < 106, 1.0, -1.0)
    found[0] = 100.0
    alone = bootstrap((found,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert alone.low > 0
    effect = mean_of(*found)
    assert effect.p > 0.2
    assert effect.low < 0 < effect.high


def test_values_apart_by_rounding_are_equal():
    a = np.full(50, 0.3)
    effect = measure_effect(Paired(JUDGE_SCORE, a, np.full(50, 0.1 + 0.2)), 0)
    assert (effect.estimate, effect.p, effect.note) == (0.0, 1.0, ALL_EQUAL)


def test_equal_seeds_give_equal_effects_and_others_hardly_differ():
    generator = np.random.default_rng(0)
    paired = Paired(JUDGE_SCORE, generator.normal(size=90), generator.normal(size=90))
    first = measure_effect(paired, 1)
    assert first == measure_effect(paired, 1)
    other = measure_effect(paired, 2)
    assert first != other
    assert first.low == pytest.approx(other.low, abs=0.02)
    assert first.p == pytest.approx(other.p, abs=0.02)


def test_the_size_of_values_does_not_change_what_is_found():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 50))
    plain = measure_effect(Paired(JUDGE_SCORE, a, b), 0)
    huge = measure_effect(Paired(JUDGE_SCORE, a * 2.0**1000, b * 2.0**1000), 0)
    assert replace(huge, mean_a=0, mean_b=0, estimate=0, low=0, high=0) == replace(
        plain, mean_a=0, mean_b=0, estimate=0, low=0, high=0
    )
    assert huge.low == plain.low * 2.0**1000


def test_values_of_which_some_vanish_beside_others_are_compared():
    a, b = np.zeros((2, 12))
    a[10:] = 1.5e307, 1.0
    b[9] = 1.5e307
    assert measure_effect(Paired(JUDGE_SCORE, a, b), 0).estimate < 0
    spent, ones = np.full(12, 1e-200), np.ones(12)
    spent[::2] = 0
    effect = measure_effect(PairedRatio(COST_PER_MERGE, spent, ones, ones, ones), 0)
    assert (effect.low, effect.estimate, effect.high) == (1.0, 1.0, 1.0)


def test_a_cost_per_merge_is_all_spending_through_all_merges():
    spent = np.full(40, 2.0)
    accepted_a = np.repeat([1.0, 0.0], 20)
    accepted_b = np.repeat([1.0, 0.0], [32, 8])
    paired = PairedRatio(COST_PER_MERGE, spent, accepted_a, spent, accepted_b)
    effect = measure_effect(paired, 0)
    assert (effect.mean_a, effect.mean_b, effect.estimate) == (4.0, 2.5, -1.5)
    assert effect.low < -1.5 < effect.high < 0
    assert effect.p < 0.01


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_price_that_never_varies_has_no_spread(every):
    accepted_a = (np.arange(30) % every == 0).astype(np.float64)
    accepted_b = accepted_a[::-1].copy()
    paired = PairedRatio(COST_PER_MERGE, 0.1 * accepted_a, accepted_a, 0.3 * accepted_b, accepted_b)
    effect = measure_effect(paired, 0)
    assert (effect.low, effect.estimate, effect.high) == pytest.approx((0.2, 0.2, 0.2))
    assert effect.p < 0.01


def test_an_arm_without_a_merge_has_no_cost_per_merge():
    spent, none = np.ones(10), np.zeros(10)
    effect = measure_effect(PairedRatio(COST_PER_MERGE, spent, none, spent, spent), 0)
    assert (effect.mean_a, effect.mean_b, effect.estimate) == (None, 1.0, None)
    assert (effect.p, effect.note) == (1.0, NO_MERGE)


def test_orders_that_disagree_are_ties():
    a_first = np.array([1.0] * 8 + [-1.0] * 4 + [0.0])
    b_first = np.array([1.0] * 8 + [1.0] * 4 + [1.0])
    effect = measure_effect(Paired(PREFERENCE, a_first, b_first), 0)
    assert (effect.only_a, effect.only_b, effect.n) == (0, 8, 13)
    assert effect.p == pytest.approx(2 / 2**8)


@pytest.mark.parametrize(
    ("metric", "a", "b", "words"),
    [
        (PASSED, [0.5], [1.0], "has the value 0.5; give one of 0, 1, or NaN"),
        (PREFERENCE, [1.0], [2.0], "has the value 2; give one of -1, 0, 1, or NaN"),
        (JUDGE_SCORE, [1.0], [1.0, 2.0], "one value per group and arm"),
    ],
)
def test_values_that_are_none_of_the_metric_are_refused(metric, a, b, words):
    with pytest.raises(UsageError, match=words):
        Paired(metric, np.array(a), np.array(b))
