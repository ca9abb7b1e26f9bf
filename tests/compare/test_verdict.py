from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mergeit_async.compare.experiment import ArmPair, Comparison, compare_arms
from mergeit_async.compare.metrics import (
    COST_PER_MERGE,
    JUDGE_SCORE,
    LATENCY,
    LENGTH,
    PASSED,
    PREFERENCE,
    Effect,
    Metric,
    Paired,
    PairedRatio,
)
from mergeit_async.compare.verdict import find_worse, judge_all, judge_pair
from mergeit_async.errors import UsageError

N = 400


def effect(metric: Metric, estimate: float, p: float, mean_a: float = 0.8) -> Effect:
    return Effect(
        metric.name,
        N,
        0,
        mean_a,
        mean_a + estimate,
        estimate,
        estimate - 0.03,
        estimate + 0.03,
        p / 4,
        p_holm=p,
        only_a=10 if metric.kind == "binary" else None,
        only_b=20 if metric.kind == "binary" else None,
    )


def comparison(*found: tuple[Metric, float, float], a: str = "A", b: str = "B") -> Comparison:
    effects = tuple(effect(*each) for each in found)
    metrics = tuple(each[0] for each in found)
    return Comparison(a, b, N, effects, metrics, None, 0.058)


SURE, UNSURE = 0.0004, 0.3


def test_what_is_better_and_not_dearer_is_to_be_used():
    verdict = judge_pair(comparison((PASSED, 0.0625, SURE), (COST_PER_MERGE, 0.08, UNSURE)))
    assert (verdict.kind, verdict.winner) == ("win", "B")
    assert verdict.sentence == (
        "B passes 6.2 points more often than A (95 % interval 3.2 to 9.2, p = 0.0004 after Holm, "
        "400 groups); no difference of cost is established: use B."
    )


def test_what_is_better_and_cheaper_is_to_be_used():
    verdict = judge_pair(comparison((PASSED, -0.1, SURE), (COST_PER_MERGE, 0.08, SURE)))
    assert (verdict.kind, verdict.winner, verdict.cheaper) == ("win", "A", "A")
    assert verdict.sentence.startswith("A passes 10.0 points more often than B (")
    assert "(95 % interval 7.0 to 13.0, " in verdict.sentence
    assert "costs 9.1 % less per accepted merge than B (95 % interval 5.7 % to" in verdict.sentence
    assert verdict.sentence.endswith(": use A.")


def test_better_at_a_higher_price_is_a_trade():
    verdict = judge_pair(comparison((PASSED, 0.1, SURE), (COST_PER_MERGE, 0.08, SURE)))
    assert (verdict.kind, verdict.winner) == ("trade", None)
    assert (verdict.better, verdict.cheaper) == ("B", "A")
    assert "but costs 10.0 % more per accepted merge than A (95 % inter" in verdict.sentence
    assert verdict.sentence.endswith("use B where its quality is worth the price, else A.")


def test_better_in_one_and_worse_in_another_that_decide_is_a_trade():
    found = comparison((PASSED, 0.1, SURE), (JUDGE_SCORE, -0.5, SURE))
    verdict = judge_pair(found)
    assert (verdict.kind, verdict.winner) == ("trade", None)
    assert "but A has a judge score that is 0.5 higher than that of B" in verdict.sentence
    assert judge_pair(found, primary=("passed",)).winner == "B"


def test_the_judge_decides_where_the_gate_does_not():
    verdict = judge_pair(comparison((PASSED, 0.01, UNSURE), (PREFERENCE, -0.2, SURE)))
    assert (verdict.kind, verdict.winner) == ("win", "A")
    assert (
        "A is preferred by the judge in 20.0 points more of the groups than B" in verdict.sentence
    )


def test_nothing_established_names_no_winner_and_what_would_have_been_found():
    verdict = judge_pair(comparison((PASSED, 0.03, UNSURE), (COST_PER_MERGE, 0.1, UNSURE)))
    assert (verdict.kind, verdict.winner, verdict.cheaper) == ("none", None, None)
    assert verdict.sentence == (
        "No difference between A and B is established by these 400 groups; differences of pass "
        "rate above 5.8 points would have been found with power 0.8; an accepted merge costs USD "
        "0.8 with A and USD 0.9 with B, which is no established difference: choose either, or "
        "take more groups."
    )


def test_where_only_the_cost_differs_it_decides_without_a_winner():
    verdict = judge_pair(comparison((PASSED, 0.03, UNSURE), (COST_PER_MERGE, 0.1, SURE)))
    assert (verdict.kind, verdict.winner, verdict.cheaper) == ("cost", None, "A")
    assert verdict.sentence.endswith("choose A for its cost.")


def test_other_effects_are_told_and_do_not_decide():
    found = comparison((PASSED, 0.03, UNSURE), (LENGTH, 0.2, SURE))
    verdict = judge_pair(found)
    assert verdict.kind == "none"
    assert (
        "Also established: B has a length that is 25.0 % higher than that of A" in verdict.sentence
    )


def test_what_is_only_described_is_never_told_as_established():
    latency = replace(effect(LATENCY, 5.0, SURE), p_holm=None)
    found = comparison((PASSED, 0.03, UNSURE))
    found = replace(found, effects=(*found.effects, latency), metrics=(*found.metrics, LATENCY))
    assert "latency" not in judge_pair(found).sentence


def ties(n: int) -> ArmPair:
    ones, spent = np.ones(n), np.full(n, 0.001)
    values = Paired(PASSED, ones, ones), PairedRatio(COST_PER_MERGE, spent, ones, spent, ones)
    return ArmPair("A", "B", n, values)


@pytest.mark.parametrize(
    ("n", "kind", "words"),
    [
        (400, "none", "A and B passed and failed in the same 400 groups"),
        (1, "none", "1 group is too few to tell A and B apart"),
        (2, "none", "2 groups are too few to tell A and B apart"),
        (0, "nothing", "none of 0 groups has a value in both"),
    ],
)
def test_ties_and_few_groups_have_a_verdict_that_says_so(n, kind, words):
    verdict = judge_all(compare_arms([ties(n)], 0))
    assert (verdict.kind, verdict.winner) == (kind, None)
    assert words in verdict.sentence


def test_an_arm_whose_every_call_failed_is_not_judged():
    ones, none = np.ones(20), np.full(20, np.nan)
    pair = ArmPair("A", "B", 20, (Paired(PASSED, ones, none), Paired(JUDGE_SCORE, ones, none)))
    verdict = judge_all(compare_arms([pair], 0))
    assert verdict.kind == "nothing"
    assert "none of 20 groups has a value in both; see which calls failed" in verdict.sentence


def three(ab: float, ac: float, bc: float, *cost: float) -> list[Comparison]:
    names = (("A", "B"), ("A", "C"), ("B", "C"))
    costs = cost or (0.0, 0.0, 0.0)
    return [
        comparison(
            (PASSED, difference, SURE if difference else UNSURE),
            (COST_PER_MERGE, dearer, SURE if dearer else UNSURE),
            a=a,
            b=b,
        )
        for (a, b), difference, dearer in zip(names, (ab, ac, bc), costs, strict=True)
    ]


def test_the_arm_that_is_better_than_all_others_is_to_be_used():
    verdict = judge_all(three(0.1, 0.0, -0.2))
    assert (verdict.kind, verdict.winner) == ("win", "B")
    assert verdict.sentence.startswith("Use B: it passes 10.0 points more often than A (")
    assert "; it passes 20.0 points more often than C (" in verdict.sentence


def test_arms_that_are_not_told_apart_share_no_win():
    verdict = judge_all(three(0.1, 0.1, 0.0))
    assert (verdict.kind, verdict.winner) == ("none", None)
    assert verdict.sentence == (
        "No single winner: A is worse than B; no difference in quality between B and C is "
        "established: choose any of them, or take more groups."
    )


def test_the_cheapest_of_equal_arms_is_named_for_its_cost():
    verdict = judge_all(three(0.0, 0.0, 0.0, 0.1, 0.2, 0.1))
    assert (verdict.kind, verdict.winner, verdict.cheaper) == ("cost", None, "A")
    assert "between A, B and C is established: choose A for its cost" in verdict.sentence


def test_three_equal_arms_are_told_what_would_have_been_found():
    verdict = judge_all(three(0.0, 0.0, 0.0))
    assert verdict.kind == "none"
    assert "differences of pass rate above 5.8 points would have been found" in verdict.sentence


def test_a_trade_among_three_is_a_trade():
    verdict = judge_all(three(0.1, 0.0, 0.0, 0.1, 0.0, 0.0))
    assert (verdict.kind, verdict.winner) == ("trade", None)


def test_the_best_arm_that_is_dearer_than_some_is_a_trade():
    verdict = judge_all(three(0.1, 0.0, -0.2, 0.1, 0.0, 0.0))
    assert (verdict.kind, verdict.winner, verdict.better) == ("trade", None, "B")
    assert verdict.sentence.startswith("B is better than all others: it passes 10.0 points")
    assert "costs more per accepted merge than A: a trade" in verdict.sentence


def test_arms_that_beat_one_another_in_a_circle_have_no_winner():
    verdict = judge_all(three(0.1, -0.1, 0.1))
    assert (verdict.kind, verdict.winner) == ("none", None)
    assert "each arm is worse than another" in verdict.sentence


def test_worse_arms_are_named_by_metric():
    found = three(0.1, 0.0, -0.2, 0.0, 0.1, 0.0)
    assert find_worse(found, "passed") == [("A", "B"), ("C", "B")]
    assert find_worse(found, "cost_per_merge") == [("C", "A")]


@pytest.mark.parametrize("name", ["length", "latency", "beauty"])
def test_worse_is_only_asked_of_what_can_be_worse(name):
    found = comparison((PASSED, 0.1, SURE), (LENGTH, 0.1, SURE), (LATENCY, 0.1, SURE))
    with pytest.raises(UsageError, match=rf"'{name}'; choose among passed"):
        find_worse([found], name)


def test_no_comparison_has_no_verdict():
    with pytest.raises(ValueError, match="two arms"):
        judge_all([])


def test_an_arm_that_was_not_measured_is_named_and_left_out_of_the_choice():
    values = np.ones(60)
    none = np.full(60, np.nan)
    worse = np.repeat([0.0, 1.0], 30)
    pairs = [
        ArmPair("A", "B", 60, (Paired(PASSED, values, worse),)),
        ArmPair("A", "C", 60, (Paired(PASSED, values, none),)),
        ArmPair("B", "C", 60, (Paired(PASSED, worse, none),)),
    ]
    verdict = judge_all(compare_arms(pairs, 1))
    assert (verdict.kind, verdict.winner) == ("win", "A")
    assert verdict.sentence.startswith("Nothing can be said of C")
