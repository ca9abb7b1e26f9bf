"""Two arms that differ in some of the same groups: exact tests and intervals from the counts."""

from __future__ import annotations

from math import hypot
from typing import NamedTuple

from scipy.stats import binomtest


class Share(NamedTuple):
    """A share of so many, with its exact 95 % interval (Clopper and Pearson 1934)."""

    estimate: float
    low: float
    high: float


class Difference(NamedTuple):
    """A difference of two rates on the same groups, its 95 % interval and its exact p."""

    estimate: float
    low: float
    high: float
    p: float


def exact_share(count: int, n: int) -> Share | None:
    """The share `count` of `n`; None of nothing."""
    if n == 0:
        return None
    interval = binomtest(count, n).proportion_ci(method="exact")
    return Share(count / n, float(interval.low), float(interval.high))


def paired_difference(only_a: int, only_b: int, n: int) -> Difference:
    """B's rate minus A's, where one alone scored in `only_a` and `only_b` of `n` groups; n > 0.

    The test is McNemar's, exact: given that two arms differ in a group, either is as likely to be
    the better one. The end of the interval nearer to 0 is that of the exact interval of B's share
    among the discordant groups, scaled by how many there are, so that it leaves 0 out exactly
    where p is below 0.05. The other end also allows for more such groups than were seen, by MOVER
    (Zou and Donner 2008, doi:10.1002/sim.3095); see docs/decisions/0012.
    """
    discordant = only_a + only_b
    if discordant == 0:
        return Difference(0.0, 0.0, 0.0, 1.0)
    estimate = (only_b - only_a) / n
    share = binomtest(only_b, discordant)
    inside = share.proportion_ci(method="exact")
    low = (2 * float(inside.low) - 1) * discordant / n
    high = (2 * float(inside.high) - 1) * discordant / n
    spread = exact_share(discordant, n)
    assert spread is not None
    # How far the estimate moves with the number of discordant groups alone, B's share held.
    more = abs(estimate) * (spread.high / spread.estimate - 1)
    if estimate > 0:
        high = min(1.0, estimate + hypot(high - estimate, more))
    elif estimate < 0:
        low = max(-1.0, estimate - hypot(estimate - low, more))
    return Difference(estimate, low, high, float(share.pvalue))
