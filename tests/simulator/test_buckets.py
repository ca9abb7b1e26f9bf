from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.simulator.buckets import Limits, Rejection, TokenBucket, spell_duration
from mergeit_async.simulator.settings import SimulatorSettings


def test_a_bucket_gives_its_capacity_and_then_its_rate() -> None:
    bucket = TokenBucket(per_minute=60, burst_s=3, now_s=0)
    for _ in range(3):
        bucket.debit(1, 0)

    assert bucket.wait_s(1, 0) == 1
    assert bucket.wait_s(1, 0.25) == 0.75
    assert bucket.wait_s(1, 1.0) == 0
    assert bucket.level(100) == 3


def test_a_slow_limit_still_lets_one_request_through() -> None:
    assert TokenBucket(per_minute=1, burst_s=1, now_s=0).wait_s(1, 0) == 0


@given(
    per_minute=st.floats(0.1, 1e6),
    burst_s=st.floats(0.1, 60),
    gaps=st.lists(st.floats(0, 5), max_size=60),
)
def test_a_bucket_never_gives_more_than_its_burst_and_rate(
    per_minute: float, burst_s: float, gaps: list[float]
) -> None:
    bucket = TokenBucket(per_minute, burst_s, 0)
    now_s = taken = 0.0
    for gap in gaps:
        now_s += gap
        if bucket.wait_s(1, now_s) == 0:
            bucket.debit(1, now_s)
            taken += 1

    assert taken <= bucket.capacity + now_s * per_minute / 60 + 1e-6


def test_a_request_over_one_limit_is_charged_to_none() -> None:
    limits = Limits(SimulatorSettings(rpm=60, tpm=600, burst_s=10), 0)

    assert limits.admit(100, 0) is None
    rejection = limits.admit(1, 0)

    assert rejection == Rejection("tokens", 600, 0.1)
    assert limits.headers(0)["x-ratelimit-remaining-requests"] == "9"


def test_a_request_larger_than_the_bucket_is_told_that_it_never_fits() -> None:
    limits = Limits(SimulatorSettings(tpm=600, burst_s=10), 0)

    assert limits.admit(101, 0) == Rejection("tokens", 600, None)


def test_reported_charging_takes_the_output_when_it_is_known() -> None:
    limits = Limits(SimulatorSettings(tpm=600, burst_s=10, tpm_charge="reported"), 0)

    assert not limits.charges_max
    assert limits.admit(50, 0) is None
    assert limits.headers(0)["x-ratelimit-remaining-tokens"] == "50"
    limits.settle(70, 0)

    assert limits.headers(0)["x-ratelimit-remaining-tokens"] == "0"
    assert limits.admit(10, 0) == Rejection("tokens", 600, 3.0)


def test_headers_tell_limit_rest_and_time_to_full() -> None:
    limits = Limits(SimulatorSettings(rpm=600), 0)
    for _ in range(90):
        limits.admit(1, 0)

    assert limits.headers(0) == {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "510",
        "x-ratelimit-reset-requests": "9s",
    }
    assert limits.headers(8.88)["x-ratelimit-reset-requests"] == "120ms"


def test_without_limits_there_are_no_headers_and_no_rejections() -> None:
    limits = Limits(SimulatorSettings(), 0)

    assert not limits.exist
    assert limits.admit(10**9, 0) is None
    assert limits.headers(0) == {}


@pytest.mark.parametrize(("taken", "left"), [(0, 20), (5, 10), (10, 0), (15, -10)])
def test_a_bucket_that_is_resized_stays_as_full_in_proportion(taken: float, left: float) -> None:
    bucket = TokenBucket(per_minute=60, burst_s=10, now_s=0)
    bucket.debit(taken, 0)
    bucket.resize(per_minute=120, burst_s=10, now_s=0)

    assert (bucket.level(0), bucket.capacity) == (left, 20)
    assert bucket.wait_s(20, 0) == (20 - left) / 2


def test_changed_limits_hold_from_then_on() -> None:
    limits = Limits(SimulatorSettings(rpm=60, tpm=600, burst_s=10), 0)
    limits.admit(50, 0)
    limits.change(SimulatorSettings(rpm=120, tpm=300, burst_s=10), 0)

    headers = limits.headers(0)
    assert headers["x-ratelimit-remaining-requests"] == "18"
    assert headers["x-ratelimit-remaining-tokens"] == "25"
    assert headers["x-ratelimit-limit-tokens"] == "300"


def test_a_limit_can_be_taken_away_and_given() -> None:
    limits = Limits(SimulatorSettings(rpm=60, burst_s=1), 0)
    limits.admit(1, 0)
    limits.change(SimulatorSettings(), 0)
    without = limits.admit(1, 0)
    limits.change(SimulatorSettings(tpm=60, burst_s=1), 0)

    assert (without, limits.admit(1, 0)) == (None, None)
    assert limits.admit(1, 0) == Rejection("tokens", 60, 1.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (0.9996, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (62, "1m2s"),
        (3600, "1h0m0s"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_durations_are_spelled_as_openai_does(seconds: float, text: str) -> None:
    assert spell_duration(seconds) == text
