"""Which of two arms a judge prefers, shown in both orders, and how far the order decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergeit_async.compare.discordant import exact_share
from mergeit_async.compare.effects import settle
from mergeit_async.compare.metrics import Paired


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a judge preferred in `n` groups, each shown in both orders.

    `ties` holds the groups that the judge called even and those in which the orders disagree.
    `win_rate` is B's share of the groups that are no ties, None where all are. `position_bias` is
    the share of groups in which the orders disagree; `first_wins` and `second_wins` count those of
    them in which the row shown first, or second, won both times. Intervals are exact, 95 %.
    """

    n: int
    left_out: int
    wins_a: int
    wins_b: int
    ties: int
    first_wins: int
    second_wins: int
    win_rate: float | None = None
    win_low: float | None = None
    win_high: float | None = None
    position_bias: float | None = None
    bias_low: float | None = None
    bias_high: float | None = None


def count_preferences(paired: Paired) -> Preferences:
    """The preferences of a judge; the test that goes with them is `measure_effect`'s."""
    known = np.isfinite(paired.a) & np.isfinite(paired.b)
    a_first, b_first = paired.a[known], paired.b[known]
    winner = settle(a_first, b_first)
    wins_a, wins_b = int((winner < 0).sum()), int((winner > 0).sum())
    n = len(winner)
    won = exact_share(wins_b, wins_a + wins_b)
    bias = exact_share(int((a_first != b_first).sum()), n)
    return Preferences(
        n,
        len(paired.a) - n,
        wins_a,
        wins_b,
        n - wins_a - wins_b,
        int(((a_first < 0) & (b_first > 0)).sum()),
        int(((a_first > 0) & (b_first < 0)).sum()),
        *(won or (None, None, None)),
        *(bias or (None, None, None)),
    )
