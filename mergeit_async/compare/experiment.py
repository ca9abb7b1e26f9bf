"""All pairs of arms in all metrics: effects, corrected for how many were tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, sqrt

from mergeit_async.compare.effects import measure_effect
from mergeit_async.compare.holm import correct_for_many
from mergeit_async.compare.metrics import LEVEL, Effect, Metric, Paired, PairedRatio
from mergeit_async.compare.power import smallest_pass_difference
from mergeit_async.compare.preferences import Preferences, count_preferences


@dataclass(frozen=True, slots=True)
class ArmPair:
    """Two arms by name, and their values in each metric on the same `n_groups` groups."""

    a: str
    b: str
    n_groups: int
    values: tuple[Paired | PairedRatio, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found between two arms, the effects in the order of their metrics.

    `preferences` is None where no judge was asked for any. `detectable` is the smallest difference
    of pass rates that these groups would have shown with power 0.8, from the rates and the
    agreement that were seen; None where none is or none was measured.
    """

    a: str
    b: str
    n_groups: int
    effects: tuple[Effect, ...]
    metrics: tuple[Metric, ...]
    preferences: Preferences | None
    detectable: float | None

    def effect(self, name: str) -> Effect | None:
        """The effect in the metric of that name, None where it was not measured."""
        return next((effect for effect in self.effects if effect.metric == name), None)


def pair_arms(names: Sequence[str]) -> list[tuple[str, str]]:
    """Every two arms, in the order in which they are compared."""
    return list(combinations(names, 2))


def count_tests(n_arms: int, metrics: Sequence[Metric]) -> int:
    """How many tests Holm corrects for: every two arms in every metric of the family."""
    return comb(n_arms, 2) * sum(metric.in_family for metric in metrics)


def compare_arms(pairs: Sequence[ArmPair], seed: int) -> tuple[Comparison, ...]:
    """The effects of all pairs, with Holm over all of them and all metrics in the family.

    Equal values and seeds give equal results.
    """
    measured = [[measure_effect(values, seed) for values in pair.values] for pair in pairs]
    places = [
        (at, place)
        for at, pair in enumerate(pairs)
        for place, values in enumerate(pair.values)
        if values.metric.in_family
    ]
    corrected = correct_for_many([measured[at][place].p for at, place in places])
    for (at, place), p in zip(places, corrected, strict=True):
        measured[at][place] = replace(measured[at][place], p_holm=p)
    level = LEVEL / max(1, len(places))
    return tuple(
        _conclude(pair, tuple(effects), level)
        for pair, effects in zip(pairs, measured, strict=True)
    )


def _conclude(pair: ArmPair, effects: tuple[Effect, ...], level: float) -> Comparison:
    binary = [
        effect
        for effect, values in zip(effects, pair.values, strict=True)
        if values.metric.kind == "binary"
    ]
    preferences = [
        count_preferences(values)
        for values in pair.values
        if isinstance(values, Paired) and values.metric.kind == "preference"
    ]
    return Comparison(
        pair.a,
        pair.b,
        pair.n_groups,
        effects,
        tuple(values.metric for values in pair.values),
        next(iter(preferences), None),
        _find_detectable(binary[0], level) if binary else None,
    )


def _find_detectable(passed: Effect, level: float) -> float | None:
    if passed.mean_a is None or passed.mean_b is None or passed.only_a is None:
        return None
    a, b = passed.mean_a, passed.mean_b
    spread = sqrt(a * (1 - a) * b * (1 - b))
    both = a - passed.only_a / passed.n
    agreement = (both - a * b) / spread if spread else 0.0
    return smallest_pass_difference(
        passed.n, level, pass_rate=(a + b) / 2, agreement=min(1.0, max(-1.0, agreement))
    )
