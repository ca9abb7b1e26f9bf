"""A judge on the merges of all arms: scores for each, and which of every two it prefers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import nan

import numpy as np

from mergeit_async.compare.arm_merger import place_of
from mergeit_async.compare.metrics import Values
from mergeit_async.compare.preferring import Preferring
from mergeit_async.engine.caller import Caller, GaveUp
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.referee import Referee
from mergeit_async.records import Example, Group, Outcome, Refusal, Status

# In the journal, the judge's calls on a group lie before all arms.
FIRST_JUDGED = -2


@dataclass(slots=True)
class Verdict:
    """What the judge said of one group.

    `scores` are quality times complexity, 1 to 36, by arm. `preferred` holds, by two arms, which
    one was taken with the first of them shown first, and with the second: -1 the first arm, 1 the
    second, 0 a tie. What is missing has no answer that can be used.
    """

    scores: dict[int, float] = field(default_factory=dict)
    preferred: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)


class Verdicts:
    """What the judge said of all groups, in the order of the sample."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self._verdicts = verdicts

    def scores(self, arm: int) -> Values:
        """The score of each merge of `arm`, (n_groups,) float64; NaN where there is none."""
        return np.array([each.scores.get(arm, nan) for each in self._verdicts], np.float64)

    def preferred(self, a: int, b: int) -> tuple[Values, Values]:
        """What was taken with arm `a` shown first, and with `b`; as `Paired` has preferences."""
        found = [each.preferred.get((a, b), (nan, nan)) for each in self._verdicts]
        both = np.array(found, np.float64).reshape(-1, 2)
        return both[:, 0], both[:, 1]


class Judging:
    """Has each sampled group judged once all arms are through with it; a `Merger` of verdicts.

    Every answer is found again by its request, so what is judged is not stored but asked for.
    """

    def __init__(
        self,
        load_group: Callable[[PlannedGroup], Group],
        merged: Mapping[int, Example],
        n_arms: int,
        referee: Referee,
        preferring: Preferring,
        caller: Caller,
    ) -> None:
        """`merged` are the accepted merges by `place_of` arm and group."""
        self._load_group = load_group
        self._merged = merged
        self._n_arms = n_arms
        self._referee = referee
        self._preferring = preferring
        self._caller = caller
        self._verdicts: dict[int, Verdict] = {}

    def draft(self, planned: PlannedGroup) -> PlannedGroup:
        """Nothing to prepare."""
        return planned

    async def merge(self, planned: PlannedGroup) -> Outcome:
        """The verdict on one group; the outcome says no more than that there is one."""
        verdict = self._verdicts[planned.position] = Verdict()
        rows = {}
        for arm in range(self._n_arms):
            row = self._merged.get(place_of(arm, planned.position))
            if row is not None:
                rows[arm] = row
                await self._score(planned, arm, row, verdict)
        group = self._load_group(planned)
        for a, b in combinations(rows, 2):
            await self._prefer(group, (a, b), (rows[a], rows[b]), verdict)
        return Outcome(planned.position, group.id, Status.MERGED, 0)

    def stop(self, error: Exception) -> None:
        """Ask for nothing more."""
        self._caller.stop(error)

    def verdicts(self, sample: Sequence[PlannedGroup]) -> Verdicts:
        """What was said of the sampled groups."""
        return Verdicts([self._verdicts[planned.position] for planned in sample])

    async def _score(self, planned: PlannedGroup, arm: int, row: Example, verdict: Verdict) -> None:
        try:
            scores = await self._referee.score(FIRST_JUDGED - planned.position, row)
        except GaveUp:
            return
        if not isinstance(scores, Refusal):
            verdict.scores[arm] = scores.product

    async def _prefer(
        self, group: Group, arms: tuple[int, int], rows: tuple[Example, Example], verdict: Verdict
    ) -> None:
        place = FIRST_JUDGED - group.position
        try:
            a_first = await self._preferring.compare(place, group.rows, *rows)
            b_first = await self._preferring.compare(place, group.rows, *reversed(rows))
        except GaveUp:
            return
        if a_first is not None and b_first is not None:
            # With the second arm shown first, taking the first row is taking the second arm.
            verdict.preferred[arms] = (-a_first, b_first)
