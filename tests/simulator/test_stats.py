from __future__ import annotations

import pytest

from mergeit_async.simulator.calls import body_digest
from mergeit_async.simulator.completions import Task
from mergeit_async.simulator.stats import Stats

TASKS: tuple[Task, ...] = ("merge", "repair", "judge")


def test_arrivals_and_answers_are_counted_by_body() -> None:
    stats = Stats()
    for body in (b"a", b"b", b"a"):
        stats.arrive(body_digest(body), 1.0)
        stats.leave()
    stats.answer(body_digest(b"a"), 10, 5, 1.5, cached_tokens=8)

    assert (stats.arrivals_of(b"a"), stats.answers_of(b"a")) == (2, 1)
    assert (stats.arrivals_of(b"b"), stats.answers_of(b"b")) == (1, 0)
    assert stats.arrivals_of(b"c") == 0
    assert stats.cached_tokens == 8
    assert stats.snapshot()["requests"] == {
        body_digest(b"a").hex(): {"arrivals": 2, "answered": 1},
        body_digest(b"b").hex(): {"arrivals": 1, "answered": 0},
    }


def test_the_compact_form_sums_up_the_bodies() -> None:
    stats = Stats()
    for now_s in (1.0, 2.0):
        stats.arrive(b"x", now_s)
        stats.answer(b"x", 10, 5, now_s)
    for _ in range(3):
        stats.reject(429, 2.0)
    stats.charge(1, 40, 1.0)
    counts = stats.snapshot(digests=False)

    assert "requests" not in counts
    assert counts["arrivals"] == 2
    assert counts["distinct_requests"] == 1
    assert counts["answered_more_than_once"] == 1
    assert counts["rejected"] == {"429": 3}
    assert counts["prompt_tokens"] == 20
    assert counts["completion_tokens"] == 10
    assert counts["tokens_charged"] == 40
    assert counts["trace"] == [(1, 1, 1, 0, 40), (2, 1, 1, 3, 0)]
    assert (counts["first_arrival_s"], counts["last_arrival_s"]) == (1.0, 2.0)


def test_the_peak_counts_requests_in_flight_at_once() -> None:
    stats = Stats()
    for _ in range(3):
        stats.arrive(b"x", 0)
    stats.leave()
    stats.arrive(b"x", 0)

    assert (stats.in_flight, stats.peak_in_flight) == (3, 3)


def test_the_steady_rate_leaves_out_start_and_end() -> None:
    stats = Stats()
    for tick in range(1000):
        stats.arrive(b"x", tick / 100)
        stats.answer(b"x", 1, 1, tick / 100)
    for _ in range(500):
        stats.arrive(b"x", 0.05)

    counts = stats.snapshot(digests=False)

    assert counts["steady_arrivals_per_s"] == pytest.approx(100, rel=0.02)
    assert counts["steady_answers_per_s"] == pytest.approx(100, rel=0.02)


def test_faults_are_counted_with_the_task_they_belong_to() -> None:
    stats = Stats()
    for fault in (None, "copy"):
        for task in TASKS:
            stats.note_task(task, fault)
    counts = stats.snapshot()

    assert (counts["repairs"], counts["repairs_failed"], counts["judged"]) == (2, 1, 2)
    assert counts["judge_faults"] == {"copy": 1}
    assert counts["content_faults"] == {"copy": 1}


def test_a_reset_forgets_all_but_what_is_in_flight() -> None:
    stats = Stats()
    stats.arrive(b"x", 1.0)
    stats.faults["server"] += 1
    stats.refuse_connection()
    stats.note_task("repair", "copy")
    stats.note_task("judge", "prose")
    stats.charge(1, 5, 1.0)
    stats.reset()
    counts = stats.snapshot()

    assert counts["in_flight"] == counts["peak_in_flight"] == 1
    assert counts["arrivals"] == counts["steady_arrivals_per_s"] == 0
    assert counts["faults"] == counts["requests"] == {}
    assert counts["judge_faults"] == {}
    assert counts["judged"] == counts["repairs"] == counts["repairs_failed"] == 0
    assert counts["first_arrival_s"] is None
    assert counts["trace"] == []
    assert counts["tokens_charged"] == counts["connections_refused"] == 0
