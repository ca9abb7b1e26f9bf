"""What a judge says of the merges of all arms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mergeit_async.compare.arm_merger import place_of
from mergeit_async.compare.judging import Judging
from mergeit_async.engine.caller import GaveUp
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.merging.judge import Scores
from mergeit_async.records import Example, Group, Refusal, Row

PLANNED = PlannedGroup(4, 0, (0, 1), 0.9)
GROUP = Group(4, 0, "g", (Row("a", "A?", "", "a", 0, 1), Row("b", "B?", "", "b", 1, 2)), 0.9)
POOR, GOOD = Example("Both?", "", "a"), Example("Both?", "", "a and b")


class Judge:
    """Prefers the longer answer, or with `is_biased` whatever is shown first; scores by length."""

    def __init__(self, *, is_biased: bool = False, fails: bool = False) -> None:
        self.is_biased, self.fails = is_biased, fails

    async def compare(self, place: int, sources: Any, first: Example, second: Example) -> float:
        if self.fails:
            raise GaveUp(ProviderError(FaultKind.TIMEOUT, "gone"))
        if self.is_biased:
            return 1.0
        return float(np.sign(len(first.output) - len(second.output)))

    async def score(self, place: int, row: Example) -> Scores | Refusal:
        if self.fails:
            return Refusal("judge_unreadable", "prose")
        return Scores(float(len(row.output)), 2.0)


async def judge(judge: Judge, *merged: Example | None) -> Any:
    """The verdicts on one group with these merges by arm."""
    rows = {place_of(arm, 4): row for arm, row in enumerate(merged) if row is not None}
    parts: Any = judge
    judging = Judging(lambda _: GROUP, rows, len(merged), parts, parts, parts)
    await judging.merge(judging.draft(PLANNED))
    return judging.verdicts([PLANNED])


@pytest.mark.parametrize(
    ("a", "b", "said"), [(POOR, GOOD, 1.0), (GOOD, POOR, -1.0), (POOR, POOR, 0.0)]
)
async def test_both_orders_name_the_same_arm_whichever_is_shown_first(a, b, said):
    a_first, b_first = (await judge(Judge(), a, b)).preferred(0, 1)
    assert (a_first.tolist(), b_first.tolist()) == ([said], [said])


async def test_a_judge_that_takes_what_it_sees_first_names_each_arm_once():
    a_first, b_first = (await judge(Judge(is_biased=True), POOR, GOOD)).preferred(0, 1)
    assert (a_first.tolist(), b_first.tolist()) == ([-1.0], [1.0])


async def test_scores_are_products_and_only_of_what_was_merged():
    verdicts = await judge(Judge(), POOR, None, GOOD)
    assert [verdicts.scores(arm).tolist() for arm in (0, 2)] == [[2.0], [14.0]]
    assert np.isnan(verdicts.scores(1)).all()
    assert np.isnan(verdicts.preferred(0, 1)).all()
    assert verdicts.preferred(0, 2)[0].tolist() == [1.0]


async def test_a_judge_that_cannot_answer_leaves_the_group_out():
    verdicts = await judge(Judge(fails=True), POOR, GOOD)
    assert np.isnan(verdicts.scores(0)).all()
    assert np.isnan(verdicts.preferred(0, 1)).all()
