from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import orjson
import pytest

from mergeit_async.simulator.answers import Answer, error_answer, retry_after, write_head


def lines(head: bytes) -> list[str]:
    assert head.endswith(b"\r\n\r\n")
    return head.decode().split("\r\n")[:-2]


def test_an_error_has_the_four_members_of_openais() -> None:
    answer = error_answer(429, "slow", type_="requests", code="c", headers={"Retry-After": "1"})

    assert orjson.loads(answer.body) == {
        "error": {"message": "slow", "type": "requests", "param": None, "code": "c"}
    }
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert answer.content_type == "application/json"


def test_a_head_has_status_date_type_length_and_what_is_added() -> None:
    status, date, *others = lines(write_head(Answer(503, b"", {"X-A": "b"}, "text/html"), 7))

    assert status == "HTTP/1.1 503 Service Unavailable"
    assert abs(parsedate_to_datetime(date.removeprefix("Date: ")).timestamp() - time.time()) < 3
    assert sorted(others) == ["Content-Length: 7", "Content-Type: text/html", "X-A: b"]


def test_a_head_tells_of_the_end_of_its_connection() -> None:
    assert "Connection: close" in lines(write_head(Answer(200, b""), 0, closes=True))


def test_a_head_may_claim_no_length() -> None:
    assert not any("Length" in line for line in lines(write_head(Answer(200, b""), None)))


def test_a_status_of_no_standard_has_a_phrase_too() -> None:
    assert lines(write_head(Answer(529, b""), 0))[0] == "HTTP/1.1 529 Error"


def test_a_wait_is_told_in_whole_seconds_or_milliseconds_rounded_up() -> None:
    assert retry_after("seconds", 0.2) == {"Retry-After": "1"}
    assert retry_after("ms", 0.2504) == {"retry-after-ms": "251"}
    assert retry_after("none", 0.2) == {}


def test_a_hostile_server_asks_for_a_week() -> None:
    assert retry_after("week", 0.2) == {"Retry-After": "604800"}


def test_a_wait_is_told_as_a_date_not_before_it_is_over() -> None:
    before_s = time.time()

    due = parsedate_to_datetime(retry_after("date", 30)["Retry-After"])

    assert due.timestamp() - before_s == pytest.approx(30.5, abs=1)
    assert due.timestamp() >= before_s + 30
