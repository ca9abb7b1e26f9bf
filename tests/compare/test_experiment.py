from __future__ import annotations

import math
import warnings

import numpy as np
import orjson
import pytest

from mergeit_async.compare.experiment import ArmPair, compare_arms, count_tests, pair_arms
from mergeit_async.compare.metrics import (
    INFORMATION,
    JUDGE_SCORE,
    LATENCY,
    PASSED,
    PREFERENCE,
    STANDARD,
    Paired,
)

N = 200


def arms(seed: int = 0) -> list[ArmPair]:
    generator = np.random.default_rng(seed)
    passed = {name: (generator.random(N) < rate) * 1.0 for name, rate in RATES.items()}
    score = {name: generator.normal(3, 1, N) for name in RATES}
    slow = {name: generator.lognormal(0, 1, N) + 9 * (name == "C") for name in RATES}
    return [
        ArmPair(
            a,
            b,
            N,
            (
                Paired(PASSED, passed[a], passed[b]),
                Paired(JUDGE_SCORE, score[a], score[b]),
                Paired(LATENCY, slow[a], slow[b]),
            ),
        )
        for a, b in pair_arms(list(RATES))
    ]


RATES = {"A": 0.7, "B": 0.7, "C": 0.95}


def test_every_two_arms_are_compared_in_order():
    found = compare_arms(arms(), 0)
    assert [(each.a, each.b) for each in found] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert found[1].effect("passed").estimate > 0.1
    assert found[1].effect("nothing") is None


def test_holm_counts_all_pairs_and_the_metrics_of_the_family():
    found = compare_arms(arms(), 0)
    p_values = [each.effect(name).p for each in found for name in ("passed", "judge_score")]
    smallest = min(p_values)
    assert len(p_values) == count_tests(3, [PASSED, JUDGE_SCORE, LATENCY]) == 6
    best = min(found, key=lambda each: each.effect("passed").p).effect("passed")
    assert best.p_holm == pytest.approx(6 * smallest)
    assert best.is_established


def test_what_is_only_told_has_no_corrected_p_and_is_never_established():
    latency = compare_arms(arms(), 0)[1].effect("latency")
    assert latency.p < 0.001
    assert (latency.p_holm, latency.is_established) == (None, False)


def test_what_could_have_been_found_comes_from_the_rates_seen():
    found = compare_arms(arms(), 0)
    assert 0.05 < found[0].detectable < 0.3
    more = [pair for pair in arms() if pair.b == "B"]
    assert compare_arms(more, 0)[0].detectable < found[0].detectable, "fewer tests, finer sight"


def test_arms_without_any_value_are_compared_to_no_effect():
    none = np.full(N, math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = compare_arms(
            [ArmPair("A", "B", N, tuple(Paired(m, none, none) for m in (PASSED, INFORMATION)))], 0
        )
    assert [(each.p, each.p_holm, each.left_out) for each in found.effects] == [(1.0, 1.0, N)] * 2
    assert found.detectable is None


def test_comparisons_can_be_written_as_json():
    value = np.sign(np.random.default_rng(0).normal(size=N))
    pair = arms()[0]
    pair = ArmPair(pair.a, pair.b, N, (*pair.values, Paired(PREFERENCE, value, value)))
    written = orjson.loads(orjson.dumps(compare_arms([pair], 0)))
    assert written[0]["preferences"]["position_bias"] == 0.0
    assert written[0]["effects"][0]["metric"] == "passed"


def test_equal_values_give_equal_bytes_whatever_else_is_compared():
    alone = compare_arms(arms()[:1], 3)[0].effect("judge_score")
    among = compare_arms(arms(), 3)[0].effect("judge_score")
    assert (alone.low, alone.high, alone.p) == (among.low, among.high, among.p)
    assert orjson.dumps(compare_arms(arms(), 3)) == orjson.dumps(compare_arms(arms(), 3))


def test_the_standard_metrics_have_names_of_their_own():
    assert len({metric.name for metric in STANDARD}) == len(STANDARD)
