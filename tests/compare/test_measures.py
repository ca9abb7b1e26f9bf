"""What the outcomes of an arm come to, as values of its groups."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np

from mergeit_async.compare.measures import (
    ArmOutcomes,
    count_tokens,
    has_passed,
    measure_length,
    read_information,
    read_latencies,
)
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.tables import connect_writer
from mergeit_async.records import Example, Outcome, Status

TOKENS = {"prompt": 1000, "completion": 500, "cached": 400}
MERGED = Outcome(
    0,
    "g",
    Status.MERGED,
    1,
    Example("Ask.", "", "12345"),
    scores={"information": 0.8, "tokens": TOKENS},
)
KEPT = Outcome(1, "g", Status.KEPT, 3, reason="cut", scores={"information": 0.2, "tokens": TOKENS})
FAILED = Outcome(2, "g", Status.FAILED, 0, reason="timeout", scores={"tokens": TOKENS})
UNTOLD = Outcome(3, "g", Status.KEPT, 1, reason="cut", scores={"tokens": None})


def test_a_group_without_a_reply_has_no_values_at_all():
    for measure in (has_passed, read_information, measure_length, count_tokens):
        assert isnan(measure(FAILED))


def test_a_refused_merge_counts_its_tokens_and_is_no_row():
    assert (has_passed(KEPT), count_tokens(KEPT)) == (0.0, 1500.0)
    assert isnan(read_information(KEPT)) and isnan(measure_length(KEPT))


def test_an_accepted_merge_has_all_values():
    assert (has_passed(MERGED), read_information(MERGED)) == (1.0, 0.8)
    assert (measure_length(MERGED), count_tokens(MERGED)) == (5.0, 1500.0)


def test_cost_is_by_the_price_of_the_arm_with_what_was_cached():
    price = PriceSheet(prompt=1.0, cached=0.5, completion=2.0, source="given")
    costs = ArmOutcomes("A", (MERGED, FAILED, UNTOLD), price).costs()
    np.testing.assert_allclose(costs[0], (600 * 1.0 + 400 * 0.5 + 500 * 2.0) / 1e6)
    assert np.isnan(costs[1:]).all(), "of no reply, and of one without a count"
    assert np.isnan(ArmOutcomes("A", (MERGED,), None).costs()).all()


def test_reasons_are_counted_the_most_frequent_first():
    arm = ArmOutcomes("A", (FAILED, KEPT, UNTOLD, MERGED), None)
    assert list(arm.reasons().items()) == [("cut", 2), ("timeout", 1)]


def test_latencies_are_those_of_answered_merges_alone(tmp_path: Path):
    path = tmp_path / "journal.db"
    with connect_writer(path) as journal:
        for position, status, latency in (
            (0, 200, 1.0),
            (0, 200, 3.0),
            (0, 500, 9.0),
            (-2, 200, 7),
        ):
            journal.execute(
                "INSERT INTO calls (position, sample, request_key, begun_at, reserved, http_status,"
                " latency_s) VALUES (?, 0, 'k', 0, 0, ?, ?)",
                (position, status, latency),
            )
    journal.close()
    (seconds,) = read_latencies(path, 1, [PlannedGroup(at, 0, (0, 1), 0.9) for at in (0, 1)])
    assert seconds[0] == 2.0
    assert isnan(seconds[1])
