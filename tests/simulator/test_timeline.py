from __future__ import annotations

import pytest

from mergeit_async.simulator.timeline import Timeline


def charged(
    timeline: Timeline, from_s: float, to_s: float, per_s: int, tokens: int = 0
) -> Timeline:
    """The timeline with so many requests a second, evenly spread, each admitted."""
    for number in range(round((to_s - from_s) * per_s)):
        tick = timeline.at(from_s + number / per_s)
        tick.arrivals += 1
        tick.admitted += 1
        tick.tokens += tokens
    return timeline


def test_the_trace_has_a_row_for_each_second_from_the_first_to_the_last() -> None:
    timeline = Timeline(100.0)
    timeline.at(102.0).arrivals += 1
    timeline.at(102.9).answered += 2
    timeline.at(104.5).rejected_429 += 3
    timeline.at(104.5).tokens += 40

    assert timeline.trace() == [(2, 1, 2, 0, 0), (3, 0, 0, 0, 0), (4, 0, 0, 3, 40)]


def test_the_steady_rate_is_that_of_the_middle() -> None:
    timeline = charged(Timeline(0), 0, 10, per_s=100)
    timeline.at(0.05).arrivals += 500

    assert timeline.steady_rate(lambda tick: tick.arrivals) == pytest.approx(100)
    assert Timeline(0).steady_rate(lambda tick: tick.arrivals) == 0


def test_half_a_limit_is_half_used() -> None:
    timeline = Timeline(0)
    timeline.set_limits(6000, 60_000, 0)
    charged(timeline, 5, 25, per_s=50, tokens=15)

    used = timeline.limits_used()

    assert used["rpm"] == pytest.approx({"steady": 0.5, "whole": 0.5})
    assert used["tpm"] == pytest.approx({"steady": 0.75, "whole": 0.75})


def test_a_burst_at_the_start_counts_for_the_whole_and_not_for_the_middle() -> None:
    timeline = Timeline(0)
    timeline.set_limits(6000, None, 0)
    timeline.at(0).admitted += 6000
    charged(timeline, 0, 60, per_s=97)

    used = timeline.limits_used()["rpm"]

    assert used["steady"] == pytest.approx(0.97)
    assert used["whole"] == pytest.approx(1.97)


def test_a_limit_that_was_changed_counts_with_what_it_was_at_each_time() -> None:
    timeline = Timeline(0)
    timeline.set_limits(6000, None, 0)
    timeline.set_limits(3000, None, 30)
    timeline.set_limits(12000, None, 40)
    charged(timeline, 0, 30, per_s=100)
    charged(timeline, 30, 40, per_s=50)
    charged(timeline, 40, 50, per_s=100)

    used = timeline.limits_used()["rpm"]

    # The middle is from 5 s to 45 s: the first two limits were used up, the third to a half.
    assert used["whole"] == pytest.approx((3000 + 500 + 1000) / (3000 + 500 + 2000))
    assert used["steady"] == pytest.approx((2500 + 500 + 500) / (2500 + 500 + 1000))


def test_time_without_a_limit_does_not_count() -> None:
    timeline = Timeline(0)
    timeline.set_limits(None, None, 0)
    timeline.set_limits(6000, None, 10)
    charged(timeline, 0, 10, per_s=1000)
    charged(timeline, 10, 20, per_s=90)

    used = timeline.limits_used()

    assert used["rpm"] == pytest.approx({"steady": 0.9, "whole": 0.9})
    assert used["tpm"] == {"steady": None, "whole": None}


def test_the_limits_are_told_with_the_seconds_they_were_set() -> None:
    timeline = Timeline(10)
    timeline.set_limits(60, None, 10)
    timeline.set_limits(60, None, 11)
    timeline.set_limits(30, 500, 12.5)
    charged(timeline, 10, 11, per_s=10)
    timeline.clear()

    assert timeline.limits() == [(0, 60, None), (2.5, 30, 500)]
    assert timeline.trace() == []
    assert timeline.limits_used()["rpm"]["whole"] is None
