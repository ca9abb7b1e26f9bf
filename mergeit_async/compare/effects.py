"""The effect between two arms in one metric: a test, an estimate and an interval each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mergeit_async.compare.discordant import paired_difference
from mergeit_async.compare.means import (
    LEAST_GROUPS,
    Interval,
    Spending,
    differences,
    is_constant,
    mean_interval,
    ratio_interval,
    ratio_residuals,
    scale_down,
    scale_up,
    sign_flip_p,
    wilcoxon_p,
)
from mergeit_async.compare.metrics import Effect, Paired, PairedRatio, Values

NO_GROUP = "no group has a value in both arms"
TOO_FEW = f"fewer than {LEAST_GROUPS} groups: no interval"
ALL_EQUAL = "both arms are equal in every group"
CONSTANT = "the difference is the same in every group"
NO_MERGE = "an arm has no accepted merge"
FEW_MERGES = f"an arm has fewer than {LEAST_GROUPS} accepted merges: no interval"


def measure_effect(paired: Paired | PairedRatio, seed: int) -> Effect:
    """How B differs from A; groups in which an arm has no finite value are left out.

    Pass or fail: exact McNemar. Means: sign-flip p, BCa interval of 10,000 resamples, Wilcoxon.
    Cost per accepted merge: sign-flip p of what was spent beyond the common price, and BCa.
    Preferences: the sign test. Equal seeds give equal results; arms that change places change
    the sign alone.
    """
    if isinstance(paired, PairedRatio):
        return _ratio_effect(paired, seed)
    a, b = _complete(paired.a, paired.b)
    empty = Effect(paired.metric.name, len(a), len(paired.a) - len(a))
    if not len(a):
        return replace(empty, note=NO_GROUP)
    if paired.metric.kind == "continuous":
        return _mean_effect(empty, a, b, seed)
    if paired.metric.kind == "preference":
        winner = settle(a, b)
        return _discordant_effect(empty, winner < 0, winner > 0)
    return _discordant_effect(empty, a > 0, b > 0)


def settle(a_first: Values, b_first: Values) -> Values:
    """The winner of each group: 1 for B, -1 for A, and 0 where the two orders disagree."""
    return np.where(a_first == b_first, a_first, 0.0)


def _complete(*values: Values) -> list[Values]:
    known = np.logical_and.reduce([np.isfinite(each) for each in values])
    return [each[known] for each in values]


def _discordant_effect(empty: Effect, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Effect:
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    found = paired_difference(only_a, only_b, empty.n)
    return replace(
        empty,
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p=found.p,
        only_a=only_a,
        only_b=only_b,
        note="" if only_a + only_b else ALL_EQUAL,
    )


def _mean_effect(empty: Effect, a: Values, b: Values, seed: int) -> Effect:
    exponent, (a, b) = scale_down(a, b)
    found = differences(a, b)
    return replace(
        _with_interval(empty, mean_interval(found, seed), exponent),
        mean_a=scale_up(a.mean(), exponent),
        mean_b=scale_up(b.mean(), exponent),
        estimate=scale_up(found.mean(), exponent),
        p=sign_flip_p(found, seed),
        p_wilcoxon=wilcoxon_p(found),
        note=_describe(found),
    )


def _describe(found: Values) -> str:
    if not found.any():
        return ALL_EQUAL
    if len(found) < LEAST_GROUPS:
        return TOO_FEW
    return CONSTANT if is_constant(found) else ""


def _ratio_effect(paired: PairedRatio, seed: int) -> Effect:
    known = _complete(paired.spent_a, paired.accepted_a, paired.spent_b, paired.accepted_b)
    n = len(known[0])
    empty = Effect(paired.metric.name, n, len(paired.spent_a) - n)
    if not n:
        return replace(empty, note=NO_GROUP)
    exponent, (spent_a, spent_b) = scale_down(known[0], known[2])
    spending = Spending(spent_a, known[1], spent_b, known[3])
    n_a, n_b = spending.accepted_a.sum(), spending.accepted_b.sum()
    price_a = spent_a.sum() / n_a if n_a else None
    price_b = spent_b.sum() / n_b if n_b else None
    effect = replace(
        empty,
        mean_a=None if price_a is None else scale_up(price_a, exponent),
        mean_b=None if price_b is None else scale_up(price_b, exponent),
    )
    if price_a is None or price_b is None:
        return replace(effect, note=NO_MERGE)
    residuals = ratio_residuals(spending)
    interval = ratio_interval(spending, seed)
    return replace(
        _with_interval(effect, interval, exponent),
        estimate=scale_up(price_b - price_a, exponent) if residuals.any() else 0.0,
        p=sign_flip_p(residuals, seed),
        note=FEW_MERGES if interval is None else _describe(residuals),
    )


def _with_interval(effect: Effect, interval: Interval | None, exponent: int) -> Effect:
    if interval is None:
        return effect
    low, high = (scale_up(end, exponent) for end in interval)
    return replace(effect, low=low, high=high)
