from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from mergeit_async.providers.retry_after import read_retry_after

NOW_S = 1_700_000_000.0


def read(**headers: str) -> float | None:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return read_retry_after(CIMultiDict(named), NOW_S)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0.0), ("7", 7.0), (" 1.5 ", 1.5), ("-3", 0.0)]
)
def test_seconds_are_read(text: str, expected: float) -> None:
    assert read(retry_after=text) == expected


def test_milliseconds_are_read_and_go_before_seconds() -> None:
    assert read(retry_after_ms="250", retry_after="9") == 0.25


def test_seconds_are_used_where_the_milliseconds_are_garbage() -> None:
    assert read(retry_after_ms="soon", retry_after="9") == 9.0


@pytest.mark.parametrize(
    "text",
    [
        "Tue, 14 Nov 2023 22:14:00 GMT",
        "Tuesday, 14-Nov-23 22:14:00 GMT",
        "Tue Nov 14 22:14:00 2023",
    ],
)
def test_a_date_in_any_http_form_counts_from_now(text: str) -> None:
    assert read(retry_after=text) == 40.0


def test_a_date_counts_from_the_servers_own_clock_where_it_tells_it() -> None:
    due, sent = formatdate(5_000_000, usegmt=True), formatdate(4_999_988, usegmt=True)

    assert read(retry_after=due, date=sent) == 12.0


def test_a_date_in_the_past_means_at_once() -> None:
    assert read(retry_after="Tue, 14 Nov 2023 22:00:00 GMT") == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "1e400",
        "9" * 400,
        "1_0",
        "٣",
        "soon",
        "7\x1f",
        "99 Foo 99999 99:99:99 GMT",
    ],
)
def test_garbage_is_no_wait(text: str) -> None:
    assert read(retry_after=text) is None
    assert read(retry_after_ms=text) is None


def test_without_headers_there_is_no_wait() -> None:
    assert read() is None


@given(text=st.text(), millis=st.text(), date=st.text())
def test_any_text_gives_a_finite_wait_or_none(text: str, millis: str, date: str) -> None:
    wait_s = read(retry_after=text, retry_after_ms=millis, date=date)

    assert wait_s is None or (wait_s >= 0 and math.isfinite(wait_s))
