"""What is measured of an arm, the values of two arms side by side, and the effect between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mergeit_async.errors import UsageError

Values = NDArray[np.float64]
# What is better: more of it, less of it, or neither.
Direction = Literal["higher", "lower", "neither"]
# A rate of groups (0 or 1 each), a mean over groups, what is spent per accepted merge, or which of
# two arms a judge prefers in a group.
Kind = Literal["binary", "continuous", "ratio", "preference"]

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured, the same for all arms.

    `label` is what a sentence calls it, and `unit` what it is counted in. Metrics that are not
    `in_family` are told without a claim: they take no part in Holm's correction. `in_percent`
    tells a difference as a share of the value of the arm that is compared with.
    """

    name: str
    label: str
    kind: Kind
    direction: Direction
    unit: str = ""
    in_family: bool = True
    in_percent: bool = False


@dataclass(frozen=True, slots=True)
class Paired:
    """The values of two arms, (n_groups,) float64 each; NaN where an arm has none.

    Of a preference, `a` is what a judge said when A was shown first, and `b` when B was: 1 where
    it took B, -1 where it took A, 0 for a tie.
    """

    metric: Metric
    a: Values
    b: Values

    def __post_init__(self) -> None:
        _check_shapes(self.metric, self.a, self.b)
        _check_codes(self.metric, self.a, self.b)


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """What was spent on each group, and whether its merge was accepted (1) or not (0).

    All are (n_groups,) float64, NaN for unknown. An arm's value is what it spent on all groups per
    accepted merge.
    """

    metric: Metric
    spent_a: Values
    accepted_a: Values
    spent_b: Values
    accepted_b: Values

    def __post_init__(self) -> None:
        _check_shapes(self.metric, self.spent_a, self.accepted_a, self.spent_b, self.accepted_b)
        _check_codes(self.metric, self.accepted_a, self.accepted_b)


@dataclass(frozen=True, slots=True)
class Effect:
    """How arm B differs from arm A in one metric.

    `n` groups have a value in both arms, `left_out` do not. `estimate` is B's value minus A's, with
    a 95 % interval from `low` to `high`; None where there are too few groups to say. `p` is of the
    test that goes with the metric, 1 where nothing can be tested; `p_wilcoxon` stands beside that
    of a mean; `p_holm` is `p` after correction, None for a metric outside the family. `only_a` and
    `only_b` count the groups in which one arm alone passed or was preferred. `note` says what is
    special, in words.
    """

    metric: str
    n: int
    left_out: int
    mean_a: float | None = None
    mean_b: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float = 1.0
    p_wilcoxon: float | None = None
    p_holm: float | None = None
    only_a: int | None = None
    only_b: int | None = None
    note: str = ""

    @property
    def is_established(self) -> bool:
        """Whether the difference holds after correction for all that was tested."""
        return self.p_holm is not None and self.p_holm <= LEVEL and bool(self.estimate)


PASSED = Metric("passed", "passed the gate", "binary", "higher", "points")
PREFERENCE = Metric("preference", "preferred by the judge", "preference", "higher", "points")
JUDGE_SCORE = Metric("judge_score", "judge score", "continuous", "higher")
INFORMATION = Metric("information", "information kept", "continuous", "higher")
LENGTH = Metric("length", "length", "continuous", "neither", "characters", in_percent=True)
TOKENS = Metric("tokens", "tokens", "continuous", "lower", "tokens", in_percent=True)
COST_PER_MERGE = Metric(
    "cost_per_merge", "cost per accepted merge", "ratio", "lower", "USD", in_percent=True
)
LATENCY = Metric(
    "latency", "latency", "continuous", "lower", "seconds", in_family=False, in_percent=True
)
# What an A/B run measures, in the order in which it is told.
STANDARD = (
    PASSED,
    PREFERENCE,
    JUDGE_SCORE,
    INFORMATION,
    LENGTH,
    TOKENS,
    COST_PER_MERGE,
    LATENCY,
)


def _check_shapes(metric: Metric, *values: Values) -> None:
    shapes = {each.shape for each in values}
    if len(shapes) > 1 or any(each.ndim != 1 for each in values):
        told = ", ".join(str(each.shape) for each in values)
        raise UsageError(
            f"{metric.name}: the arms have values of shapes {told}; give one value per group and "
            "arm, for the same groups."
        )


_CODES = {"binary": (0.0, 1.0), "ratio": (0.0, 1.0), "preference": (-1.0, 0.0, 1.0)}


def _check_codes(metric: Metric, *values: Values) -> None:
    codes = _CODES.get(metric.kind)
    if codes is None:
        return
    for each in values:
        strange = each[np.isfinite(each) & ~np.isin(each, codes)]
        if len(strange):
            allowed = ", ".join(f"{code:g}" for code in codes)
            raise UsageError(
                f"{metric.name} has the value {strange[0]:g}; give one of {allowed}, or NaN."
            )
