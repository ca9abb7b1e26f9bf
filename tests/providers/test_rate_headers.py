from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.providers.rate_headers import read_rate_limits
from mergeit_async.records import Quota, RateLimits

# Tue, 14 Nov 2023 22:13:20 GMT
NOW_S = 1_700_000_000.0


def read_reset(text: str, **more: str) -> float | None:
    headers = {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": text, **more}
    limits = read_rate_limits(headers, NOW_S)
    assert limits is not None
    assert limits.requests is not None
    return limits.requests.reset_s


def test_without_such_headers_there_are_no_limits() -> None:
    assert read_rate_limits({"content-type": "application/json", "date": "now"}, NOW_S) is None


def test_openais_headers_are_read() -> None:
    headers = {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-tokens": "1m2s",
    }

    assert read_rate_limits(headers, NOW_S) == RateLimits(
        Quota(10000, 9999, 0.006), Quota(2000000, 1999000, 62)
    )


def test_anthropics_headers_are_read_and_count_from_the_servers_clock() -> None:
    headers = {
        "date": "Tue, 14 Nov 2023 22:00:00 GMT",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:00:01Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2023-11-14T22:00:59.5+00:00",
    }

    assert read_rate_limits(headers, NOW_S) == RateLimits(Quota(50, 49, 1.0), Quota(40000, 0, 59.5))


def test_a_part_of_the_headers_is_a_part_of_the_limits() -> None:
    headers = {"x-ratelimit-remaining-tokens": "12"}

    assert read_rate_limits(headers, NOW_S) == RateLimits(None, Quota(None, 12, None))


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("120ms", 0.12),
        ("1.5s", 1.5),
        ("0s", 0),
        ("1m2s", 62),
        ("6m0s", 360),
        ("1h0m0s", 3600),
        ("2d3h", 183600),
        ("2m59.56s", 179.56),
        ("17", 17),
        ("0.25", 0.25),
    ],
)
def test_a_reset_is_a_duration_or_plain_seconds(text: str, expected_s: float) -> None:
    assert read_reset(text) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("2023-11-14T22:13:30Z", 10),
        ("2023-11-14T23:13:30+01:00", 10),
        ("2023-11-14T22:13:20", 0),
        ("2023-11-14T22:00:00Z", 0),
    ],
)
def test_a_point_in_time_counts_from_now_and_never_back(text: str, expected_s: float) -> None:
    assert read_reset(text) == expected_s


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "-1",
        "1e3",
        "1_0",
        "soon",
        "1m2",
        "s",
        "ms",
        "1ss",
        "٣",
        "1700000000",
        "9999-99-99",
        "0001-01-01T00:00:00+14:00x",
    ],
)
@pytest.mark.parametrize("times", [1, 30])
def test_garbage_is_no_reset(text: str, times: int) -> None:
    assert read_reset(text * times) is None


def test_no_reset_is_as_long_as_a_page() -> None:
    assert read_reset("1s" * 20) == 20
    assert read_reset("1s" * 21) is None


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "1e3", "1_0", "many", "9" * 500])
def test_garbage_is_no_limit(text: str) -> None:
    headers = {"x-ratelimit-limit-requests": text, "x-ratelimit-remaining-requests": text}

    assert read_rate_limits(headers, NOW_S) is None


@pytest.mark.parametrize(("reset", "per_minute"), [("1m0s", 200), ("7m12s", None)])
def test_what_takes_longer_than_a_minute_to_be_whole_is_no_limit_of_a_minute(
    reset: str, per_minute: float | None
) -> None:
    headers = {
        "x-ratelimit-limit-requests": "200",
        "x-ratelimit-remaining-requests": "199",
        "x-ratelimit-reset-requests": reset,
    }
    limits = read_rate_limits(headers, NOW_S)

    assert limits is not None
    assert limits.requests is not None
    assert limits.requests.per_minute == per_minute
    assert limits.requests.remaining == 199


@given(limit=st.text(), remaining=st.text(), reset=st.text(), date=st.text())
def test_any_text_gives_finite_numbers_or_none(
    limit: str, remaining: str, reset: str, date: str
) -> None:
    headers = {
        "date": date,
        "x-ratelimit-limit-tokens": limit,
        "x-ratelimit-remaining-tokens": remaining,
        "x-ratelimit-reset-tokens": reset,
    }
    limits = read_rate_limits(headers, NOW_S)
    quota = limits.tokens if limits else None
    numbers = (quota.per_minute, quota.remaining, quota.reset_s) if quota else ()

    assert all(number is None or (math.isfinite(number) and number >= 0) for number in numbers)
