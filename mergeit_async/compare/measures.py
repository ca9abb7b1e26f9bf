"""What each arm made of each group, from the journal, and as values of two arms side by side."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from math import nan
from pathlib import Path
from statistics import fmean

import numpy as np

from mergeit_async.compare.arm_merger import place_of
from mergeit_async.compare.experiment import ArmPair
from mergeit_async.compare.judging import Verdicts
from mergeit_async.compare.metrics import (
    COST_PER_MERGE,
    INFORMATION,
    JUDGE_SCORE,
    LATENCY,
    LENGTH,
    PASSED,
    PREFERENCE,
    TOKENS,
    Paired,
    PairedRatio,
    Values,
)
from mergeit_async.engine.course import Tokens
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.tables import connect_reader, read_outcomes
from mergeit_async.records import Outcome, Status

LATENCIES = (
    "SELECT position, latency_s FROM calls WHERE latency_s IS NOT NULL AND http_status = 200"
)


@dataclass(frozen=True, slots=True)
class ArmOutcomes:
    """The outcomes of one arm, in the order of the sample; `price` is None where none is known."""

    name: str
    outcomes: tuple[Outcome, ...]
    price: PriceSheet | None

    def reasons(self) -> dict[str, int]:
        """How many groups were not merged, by reason."""
        counts = Counter(outcome.reason for outcome in self.outcomes if outcome.reason)
        return dict(counts.most_common())

    def values(self, measure: Callable[[Outcome], float]) -> Values:
        """One value a group, (n_groups,) float64."""
        return np.array([measure(outcome) for outcome in self.outcomes], np.float64)

    def passed(self) -> Values:
        """1 where the merge was accepted, 0 where the originals stay, NaN without any reply."""
        return self.values(has_passed)

    def costs(self) -> Values:
        """US dollars that each group took, with all its attempts; NaN where that is not known."""
        return self.values(self._cost)

    def _cost(self, outcome: Outcome) -> float:
        tokens = tokens_of(outcome)
        if tokens is None or self.price is None:
            return nan
        return self.price.of_tokens(tokens.prompt, tokens.completion, tokens.cached)


def read_arms(
    journal: Path,
    names: Sequence[str],
    sample: Sequence[PlannedGroup],
    prices: Sequence[PriceSheet | None],
) -> list[ArmOutcomes]:
    """The outcomes of all arms on the sampled groups."""
    with closing(connect_reader(journal)) as connection:
        by_place = {outcome.position: outcome for outcome in read_outcomes(connection)}
    return [
        ArmOutcomes(name, tuple(by_place[place_of(arm, group.position)] for group in sample), price)
        for arm, (name, price) in enumerate(zip(names, prices, strict=True))
    ]


def pair_values(arms: Sequence[ArmOutcomes], verdicts: Verdicts | None) -> list[ArmPair]:
    """All that is measured of every two arms, but for times."""
    pairs = []
    for (at, a), (other, b) in combinations(enumerate(arms), 2):
        values: list[Paired | PairedRatio] = [Paired(PASSED, a.passed(), b.passed())]
        if verdicts is not None:
            values.append(Paired(PREFERENCE, *verdicts.preferred(at, other)))
            values.append(Paired(JUDGE_SCORE, verdicts.scores(at), verdicts.scores(other)))
        values += [
            Paired(metric, a.values(measure), b.values(measure)) for metric, measure in MEASURES
        ]
        if a.price is not None and b.price is not None:
            values.append(PairedRatio(COST_PER_MERGE, a.costs(), a.passed(), b.costs(), b.passed()))
        pairs.append(ArmPair(a.name, b.name, len(a.outcomes), tuple(values)))
    return pairs


def read_latencies(journal: Path, n_arms: int, sample: Sequence[PlannedGroup]) -> list[Values]:
    """Seconds of a call, the mean of each group's, for each arm; NaN where no call was made."""
    with closing(connect_reader(journal)) as connection:
        seconds = group_by_place(connection)
    return [
        np.array(
            [fmean(seconds.get(place_of(arm, group.position), [nan])) for group in sample],
            np.float64,
        )
        for arm in range(n_arms)
    ]


def pair_latencies(names: Sequence[str], latencies: Sequence[Values]) -> list[ArmPair]:
    """The latencies of every two arms."""
    both = combinations(zip(names, latencies, strict=True), 2)
    return [
        ArmPair(a, b, len(of_a), (Paired(LATENCY, of_a, of_b),)) for (a, of_a), (b, of_b) in both
    ]


def group_by_place(connection: sqlite3.Connection) -> Mapping[int, list[float]]:
    """The latencies of the calls of each arm and group."""
    seconds: dict[int, list[float]] = defaultdict(list)
    for place, latency_s in connection.execute(LATENCIES):
        seconds[place].append(latency_s)
    return seconds


def has_passed(outcome: Outcome) -> float:
    """Whether a merge was accepted, as a value; NaN where no reply can say."""
    return nan if outcome.status is Status.FAILED else float(outcome.status is Status.MERGED)


def tokens_of(outcome: Outcome) -> Tokens | None:
    """What all replies to a group took, where all servers told."""
    told = (outcome.scores or {}).get("tokens")
    return Tokens(**told) if told and outcome.status is not Status.FAILED else None


def count_tokens(outcome: Outcome) -> float:
    """Tokens in and out of all attempts at a group."""
    tokens = tokens_of(outcome)
    return nan if tokens is None else float(tokens.prompt + tokens.completion)


def read_information(outcome: Outcome) -> float:
    """What an accepted merge keeps of the source that it keeps least of."""
    score = (outcome.scores or {}).get("information")
    return nan if score is None or outcome.merged is None else float(score)


def measure_length(outcome: Outcome) -> float:
    """Characters of the output of an accepted merge."""
    return nan if outcome.merged is None else float(len(outcome.merged.output))


MEASURES = ((INFORMATION, read_information), (LENGTH, measure_length), (TOKENS, count_tokens))
