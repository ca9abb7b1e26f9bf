from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import orjson
import pytest
from aiohttp import web

from mergeit_async.simulator.answers import error_answer, retry_after


def test_an_error_has_the_four_members_of_openais() -> None:
    answer = error_answer(429, "slow", type_="requests", code="c", headers={"Retry-After": "1"})

    assert isinstance(answer.body, bytes)
    assert orjson.loads(answer.body) == {
        "error": {"message": "slow", "type": "requests", "param": None, "code": "c"}
    }
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert answer.content_type == "application/json"
    assert isinstance(answer, web.Response)


def test_a_wait_is_told_in_whole_seconds_or_milliseconds_rounded_up() -> None:
    assert retry_after("seconds", 0.2) == {"Retry-After": "1"}
    assert retry_after("ms", 0.2504) == {"retry-after-ms": "251"}
    assert retry_after("none", 0.2) == {}


def test_a_wait_is_told_as_a_date_not_before_it_is_over() -> None:
    before_s = time.time()

    due = parsedate_to_datetime(retry_after("date", 30)["Retry-After"])

    assert due.timestamp() - before_s == pytest.approx(30.5, abs=1)
    assert due.timestamp() >= before_s + 30
