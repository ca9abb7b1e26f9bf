from __future__ import annotations

from math import inf

import pytest

from mergeit_async.engine.latency import (
    ENOUGH,
    FORGET_AFTER,
    HEDGED_AT,
    LOST_AT,
    REMEMBERED,
    SHORTEST_DEADLINE_S,
    Latencies,
)


def learned(*seconds: float) -> Latencies:
    latencies = Latencies()
    for value in seconds:
        latencies.add(value)
    return latencies


def test_nothing_is_concluded_from_a_few_calls():
    few = learned(*[1.0] * (ENOUGH - 1))
    assert (few.p99, few.deadline_s(80.0), few.hedge_after_s()) == (inf, 80.0, inf)


def test_a_call_is_doubted_at_multiples_of_the_99th_percentile():
    latencies = learned(*[place / 100 for place in range(100, 300)])
    assert latencies.p99 == pytest.approx(2.97, abs=0.02)
    assert latencies.deadline_s(80.0) == LOST_AT * latencies.p99
    assert latencies.hedge_after_s() == HEDGED_AT * latencies.p99


def test_the_users_ceiling_is_never_passed_and_no_deadline_is_too_short_for_a_pause():
    assert learned(*[50.0] * ENOUGH).deadline_s(80.0) == 80.0
    assert learned(*[0.001] * ENOUGH).deadline_s(80.0) == SHORTEST_DEADLINE_S
    assert learned(*[0.001] * ENOUGH).deadline_s(0.5) == 0.5


def test_a_server_that_became_slower_or_faster_is_followed():
    latencies = learned(*[1.0] * ENOUGH, *[3.0] * REMEMBERED)
    assert latencies.p99 == 3.0
    for _ in range(REMEMBERED):
        latencies.add(0.5)
    assert latencies.p99 == 0.5


def test_many_lost_calls_in_a_row_mean_that_nothing_is_known_any_more():
    latencies = learned(*[1.0] * ENOUGH)
    for _ in range(FORGET_AFTER - 1):
        latencies.lose()
    assert latencies.deadline_s(80.0) == LOST_AT
    latencies.lose()
    assert latencies.deadline_s(80.0) == 80.0
    for _ in range(ENOUGH):
        latencies.add(5.0)
    assert latencies.deadline_s(80.0) == 5.0 * LOST_AT


def test_stuck_calls_among_good_ones_change_nothing():
    latencies = learned(*[1.0] * ENOUGH)
    for _ in range(10 * FORGET_AFTER):
        latencies.lose()
        latencies.add(1.0)
    assert latencies.deadline_s(80.0) == LOST_AT


def test_a_stop_of_this_process_is_not_taken_for_a_slow_server():
    latencies = learned(*[1.0] * ENOUGH)
    for _ in range(64):
        latencies.add(3600.0)
    for _ in range(ENOUGH):
        latencies.add(1.0)
    assert (latencies.p99, latencies.mean) == (1.0, 1.0)
