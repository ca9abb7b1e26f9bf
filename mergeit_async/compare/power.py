"""How small a difference so many groups can show, and how many groups a difference needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, nct, norm
from scipy.stats import t as student

from mergeit_async.compare.means import N_RESAMPLES
from mergeit_async.compare.metrics import LEVEL, POWER

# What is assumed where nothing has been measured yet.
PASS_RATE = 0.85
# Numbers of discordant groups further off than so many standard deviations hardly ever occur.
_FARTHEST_SD = 9.0
_SMALLEST = 1e-9
_MOST_GROUPS = 10_000_000
# Beyond, the noncentral t of scipy loses digits, and the normal has all that count.
_MANY_GROUPS = 5_000
_LARGE_SHIFT = 30.0


@dataclass(frozen=True, slots=True)
class Foresight:
    """What an A/B of `n_groups` can show, told before anything is sent.

    `level` is that of the smallest p among `n_tests` after Holm, the hardest to reach.
    `pass_difference` is the smallest difference of two pass rates around `pass_rate` that is found
    with the given `power`, None where no difference is; `mean_difference` that of a mean, in
    standard deviations of the paired differences, on the `mean_groups` that are expected to pass in
    both arms, since a refused merge has no score. `hint` is empty where these groups are enough for
    `worth`, a difference of pass rates that a person cares about; `groups_needed` would be enough.
    """

    n_groups: int
    n_tests: int
    level: float
    power: float
    pass_rate: float
    agreement: float
    pass_difference: float | None
    mean_groups: int
    mean_difference: float | None
    worth: float
    groups_needed: int | None
    hint: str


def foresee(
    n_groups: int,
    n_tests: int,
    *,
    pass_rate: float = PASS_RATE,
    agreement: float = 0.0,
    worth: float = 0.05,
    power: float = POWER,
) -> Foresight:
    """What `n_groups` can show where `n_tests` are corrected for (arms' pairs times metrics).

    `agreement` is the correlation of passing between arms over the groups: 0, where arms agree
    only by chance, asks for the most groups. `pass_rate` is the mean of the two arms'.
    """
    level = LEVEL / max(1, n_tests)
    smallest = smallest_pass_difference(
        n_groups, level, pass_rate=pass_rate, agreement=agreement, power=power
    )
    needed = groups_for_pass_difference(
        worth, level, pass_rate=pass_rate, agreement=agreement, power=power
    )
    both = pass_rate - discordance(pass_rate, 0.0, agreement) / 2
    mean_groups = round(n_groups * both)
    return Foresight(
        n_groups,
        n_tests,
        level,
        power,
        pass_rate,
        agreement,
        smallest,
        mean_groups,
        smallest_mean_difference(mean_groups, level, power),
        worth,
        needed,
        _hint(n_groups, needed, worth, power),
    )


def discordance(pass_rate: float, difference: float, agreement: float = 0.0) -> float:
    """The share of groups in which one of two arms alone passes.

    The arms' rates are `difference` apart around `pass_rate`, moved where one would leave 0 to 1.
    `agreement` is the correlation of passing, as far as such rates allow it.
    """
    upper = min(1.0, max(pass_rate + difference / 2, difference))
    lower = max(0.0, upper - difference)
    both = upper * lower + agreement * sqrt(upper * (1 - upper) * lower * (1 - lower))
    both = min(max(both, upper + lower - 1, 0.0), lower)
    return upper + lower - 2 * both


def mcnemar_power(n: int, difference: float, discordant: float, level: float = LEVEL) -> float:
    """The probability that exact McNemar on `n` groups gives a p of at most `level`.

    Exact: the number of discordant groups is binomial with the share `discordant`, and so is that
    of those which B passes, with a share that makes the rates `difference` apart.
    """
    if n < 1 or discordant <= 0:
        return 0.0
    middle, spread = n * discordant, sqrt(n * discordant * (1 - discordant)) + 1
    counts = np.arange(
        max(0, int(middle - _FARTHEST_SD * spread)),
        min(n, int(middle + _FARTHEST_SD * spread)) + 1,
    )
    # The fewest groups on one side that make p = 2 * P(so many or more) no more than `level`.
    least = binom.isf(level / 2, counts, 0.5) + 1
    share = min(1.0, max(0.0, (discordant + difference) / (2 * discordant)))
    found = binom.sf(least - 1, counts, share) + binom.sf(least - 1, counts, 1 - share)
    return float(np.clip(binom.pmf(counts, n, discordant) @ found, 0.0, 1.0))


def mean_power(n: int, shift: float, level: float = LEVEL) -> float:
    """The probability that `n` differences show a mean of `shift` standard deviations.

    That of the paired t test, by the noncentral t, which the sign-flip test shares (measured by
    bench/ab_power.py) as far as so many signs, and so many patterns of them, can reach the level.
    """
    if max(2.0 ** (1 - n), 2 / N_RESAMPLES) > level:
        return 0.0
    moved = abs(shift) * sqrt(n)
    if n > _MANY_GROUPS or moved > _LARGE_SHIFT:
        bound = norm.isf(level / 2)
        return float(norm.sf(bound - moved) + norm.cdf(-bound - moved))
    bound = student.isf(level / 2, n - 1)
    # Of a tail below 1e-15 scipy makes NaN.
    wrong_side = np.nan_to_num(nct.cdf(-bound, n - 1, moved))
    return float(nct.sf(bound, n - 1, moved) + wrong_side)


def smallest_pass_difference(
    n: int,
    level: float = LEVEL,
    *,
    pass_rate: float = PASS_RATE,
    agreement: float = 0.0,
    power: float = POWER,
) -> float | None:
    """The smallest difference of pass rates that `n` groups show with `power`; None where none."""

    def lacking(difference: float) -> float:
        apart = discordance(pass_rate, difference, agreement)
        return mcnemar_power(n, difference, apart, level) - power

    return _first_root(lacking, 1.0)


def smallest_mean_difference(n: int, level: float = LEVEL, power: float = POWER) -> float | None:
    """The smallest mean that `n` differences show with `power`, in their standard deviations.

    None where no mean is.
    """
    return _first_root(lambda shift: mean_power(n, shift, level) - power, 1e3)


def groups_for_pass_difference(
    difference: float,
    level: float = LEVEL,
    *,
    pass_rate: float = PASS_RATE,
    agreement: float = 0.0,
    power: float = POWER,
) -> int | None:
    """The number of groups that show this `difference` of pass rates; None beyond ten million."""
    apart = discordance(pass_rate, difference, agreement)
    return _fewest(lambda n: mcnemar_power(n, difference, apart, level) >= power)


def groups_for_mean_difference(
    shift: float, level: float = LEVEL, power: float = POWER
) -> int | None:
    """The number of groups that show a mean of `shift` standard deviations; None beyond 10⁷."""
    return _fewest(lambda n: mean_power(n, shift, level) >= power)


def _first_root(lacking: Callable[[float], float], most: float) -> float | None:
    if lacking(most) < 0:
        return None
    return float(brentq(lacking, _SMALLEST, most, xtol=1e-6))


def _fewest(is_enough: Callable[[int], bool]) -> int | None:
    """The number from which on `is_enough`; by halving, as what is enough stays so."""
    enough = 1
    while not is_enough(enough):
        enough *= 2
        if enough > _MOST_GROUPS:
            return None
    short = enough // 2
    while enough - short > 1:
        middle = (enough + short) // 2
        short, enough = (short, middle) if is_enough(middle) else (middle, enough)
    return enough


def _hint(n_groups: int, needed: int | None, worth: float, power: float) -> str:
    if needed is not None and needed <= n_groups:
        return ""
    wanted = f"a difference of {100 * worth:g} points with power {power:g}"
    if needed is None:
        return f"No number of groups up to {_MOST_GROUPS:,} finds {wanted}."
    groups = "1 group is" if n_groups == 1 else f"{n_groups:,} groups are"
    return f"{groups} too few to find {wanted}: --groups {needed} would do."
