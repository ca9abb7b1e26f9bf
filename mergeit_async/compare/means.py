"""Differences of means and of costs per accepted merge between two arms on the same groups."""

from __future__ import annotations

from math import frexp
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, monte_carlo_test, permutation_test, sem, wilcoxon
from scipy.stats import t as student

from mergeit_async.compare.metrics import Values

N_RESAMPLES = 10_000
# With fewer, no pattern of signs is rarer than 0.05 on both sides: 2 / 2**5 is above it.
LEAST_GROUPS = 6
# Differences below this share of the values are rounding.
_ROUNDING = 1e-12
# Up to here all patterns of signs are tried.
_MOST_ENUMERATED = 13
# Values at once: 32 MB.
_BATCH_VALUES = 4_000_000


class Interval(NamedTuple):
    """The ends of a 95 % interval."""

    low: float
    high: float


def scale_down(*values: Values) -> tuple[int, list[Values]]:
    """An exponent, and all values through 2 to that power: none is above 1 in size.

    So no sum, difference or cube of them leaves the range of floats. The division is exact.
    """
    largest = max((float(np.abs(each).max(initial=0.0)) for each in values), default=0.0)
    exponent = frexp(largest)[1]
    return exponent, [np.ldexp(each, -exponent) for each in values]


def scale_up(value: float, exponent: int) -> float:
    """`value` times 2 to the power of `exponent`, or the largest float where that is beyond it."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(value, exponent)
    limit = np.finfo(np.float64).max
    return float(np.clip(scaled, -limit, limit))


def differences(a: Values, b: Values) -> Values:
    """B minus A in each group, 0 where they differ by rounding alone."""
    found = b - a
    found[np.abs(found) <= _ROUNDING * np.maximum(np.abs(a), np.abs(b))] = 0.0
    return found


def is_constant(values: Values) -> bool:
    """Whether all values are one, up to rounding."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max(initial=0.0))


def mean_interval(found: Values, seed: int) -> Interval | None:
    """BCa bootstrap (Efron 1987) of the mean of (n,) differences; None for too few of them.

    It is widened to Student's interval where that is longer: where a few groups outweigh all
    others, BCa alone leaves the truth out more than twice as often as it says
    (docs/decisions/0012).
    """
    if len(found) < LEAST_GROUPS:
        return None
    if is_constant(found):
        return Interval(float(found[0]), float(found[0]))
    exponent, (scaled,) = scale_down(found)
    result = bootstrap(
        (scaled,),
        np.mean,
        n_resamples=N_RESAMPLES,
        vectorized=True,
        method="BCa",
        batch=_batch(len(found)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = _widen(Interval(*result), scaled)
    return Interval(scale_up(low, exponent), scale_up(high, exponent))


def sign_flip_p(found: Values, seed: int) -> float:
    """The two-sided p of a mean of (n,) differences, each of which might as well be its opposite.

    That is what holds where both arms are alike: then which is called A is chance. All patterns
    of signs are tried where these are few, else N_RESAMPLES - 1 random ones.
    """
    moved = found[found != 0]
    if len(moved) < 2:
        return 1.0
    _, (scaled,) = scale_down(moved)
    if len(scaled) <= _MOST_ENUMERATED:
        test: Any = permutation_test(
            (scaled,), np.mean, permutation_type="samples", vectorized=True, n_resamples=np.inf
        )
    else:
        generator = np.random.default_rng(seed)
        test = monte_carlo_test(
            scaled,
            lambda size: _flip_signs(scaled, size, generator),
            np.mean,
            vectorized=True,
            n_resamples=N_RESAMPLES - 1,
            batch=_batch(len(scaled)),
        )
    return min(1.0, float(test.pvalue))


def wilcoxon_p(found: Values) -> float:
    """The two-sided p of Wilcoxon's signed-rank test of (n,) differences; ties are left out."""
    moved = found[found != 0]
    if len(moved) < 2:
        return 1.0
    _, (scaled,) = scale_down(moved)
    return min(1.0, float(wilcoxon(scaled).pvalue))


class Spending(NamedTuple):
    """What two arms spent on each group and what was accepted (0 or 1), (n,) each."""

    spent_a: Values
    accepted_a: Values
    spent_b: Values
    accepted_b: Values


def ratio_interval(spending: Spending, seed: int) -> Interval | None:
    """BCa bootstrap of B's cost per accepted merge minus A's, widened as that of a mean is.

    None for too few accepted merges. What was spent has to be scaled down.
    """
    n_accepted = min(np.count_nonzero(spending.accepted_a), np.count_nonzero(spending.accepted_b))
    if n_accepted < LEAST_GROUPS:
        return None
    difference = float(_quotient_difference(*spending))
    influence = _influence(spending)
    if len(influence) * np.abs(influence).max() <= _ROUNDING:  # of what is scaled to about 1
        return Interval(difference, difference)
    result = bootstrap(
        spending,
        _quotient_difference,
        n_resamples=N_RESAMPLES,
        vectorized=True,
        paired=True,
        method="BCa",
        batch=_batch(len(spending.spent_a)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    # The mean of these is the difference, and they vary as much as it would with the groups.
    return _widen(Interval(*result), difference + len(influence) * influence)


def ratio_residuals(spending: Spending) -> Values:
    """How much more, (n,), B spent than A beyond the common price of an accepted merge.

    Their sum is above 0 exactly where B's quotient is above A's; and as the common price is that
    of both arms together, they change their sign where the arms change places.
    """
    spent = spending.spent_a.sum() + spending.spent_b.sum()
    accepted = spending.accepted_a.sum() + spending.accepted_b.sum()
    price = spent / accepted if accepted else 0.0
    return differences(
        spending.spent_a - price * spending.accepted_a,
        spending.spent_b - price * spending.accepted_b,
    )


def _influence(spending: Spending) -> Values:
    """What each group, (n,), does to the difference of the quotients: 0 where that is fixed."""
    price_a = _quotient(spending.spent_a, spending.accepted_a, -1)
    price_b = _quotient(spending.spent_b, spending.accepted_b, -1)
    a = differences(price_a * spending.accepted_a, spending.spent_a) / spending.accepted_a.sum()
    b = differences(price_b * spending.accepted_b, spending.spent_b) / spending.accepted_b.sum()
    return differences(a, b)


def _quotient_difference(
    spent_a: Values, accepted_a: Values, spent_b: Values, accepted_b: Values, axis: int = -1
) -> NDArray[np.float64]:
    return _quotient(spent_b, accepted_b, axis) - _quotient(spent_a, accepted_a, axis)


def _quotient(spent: Values, accepted: Values, axis: int) -> NDArray[np.float64]:
    # A resample in which nothing is accepted counts as if half a merge were.
    quotient: NDArray[np.float64] = spent.sum(axis) / np.maximum(accepted.sum(axis), 0.5)
    return quotient


def _flip_signs(values: Values, size: tuple[int, ...], generator: np.random.Generator) -> Values:
    """`values` with random signs, (n_resamples, n)."""
    n_rows, n = size
    packed = generator.integers(0, 256, (n_rows, -(-n // 8)), np.uint8)
    signs = np.unpackbits(packed, axis=1, count=n).astype(np.float64)
    signs *= 2
    signs -= 1
    signs *= values
    return signs


def _widen(interval: Interval, values: Values) -> Interval:
    """An interval that also holds Student's of the mean of (n,) `values`."""
    low, high = student.interval(0.95, len(values) - 1, loc=values.mean(), scale=sem(values))
    return Interval(float(min(interval.low, low)), float(max(interval.high, high)))


def _batch(n: int) -> int:
    return max(1, min(N_RESAMPLES, _BATCH_VALUES // max(1, n)))
