from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.simulator import wire
from mergeit_async.simulator.wire import BadRequest, Request, RequestReader
from tests.simulator.raw_client import get, post

CHUNKED = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
)
STREAM = post(b"one", "Authorization: Bearer x") + CHUNKED + get("/stats") + post(b"")


def read(data: bytes) -> list[Request | BadRequest]:
    return RequestReader().feed(data)


def only(data: bytes) -> Request:
    (request,) = read(data)
    assert isinstance(request, Request)
    return request


def test_a_request_is_read_with_its_target_headers_and_body() -> None:
    request = only(post(b'{"a": 1}', "Authorization: Bearer x", path="/v1/x?digests=0&b"))

    assert (request.method, request.path, request.query) == ("POST", "/v1/x", "digests=0&b")
    assert request.header(b"authorization") == b"Bearer x"
    assert request.header(b"expect") == b""
    assert request.body == b'{"a": 1}'
    assert request.keep_alive


def test_a_body_in_chunks_is_put_together() -> None:
    assert only(CHUNKED).body == b"abc0123456789abcdef"


@given(st.sets(st.integers(1, len(STREAM) - 1)))
def test_requests_are_the_same_in_whatever_pieces_they_come(cuts: set[int]) -> None:
    reader = RequestReader()
    bounds = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(bounds)]

    assert [one for piece in pieces for one in reader.feed(piece)] == read(STREAM)


def test_requests_may_come_all_at_once() -> None:
    assert [request.path for request in read(STREAM) if isinstance(request, Request)] == [
        "/v1/chat/completions",
        "/v1/chat/completions",
        "/stats",
        "/v1/chat/completions",
    ]


def test_a_request_has_no_headers_of_the_one_before() -> None:
    _, second = read(post(b"one", "Authorization: Bearer x") + post(b"two"))

    assert isinstance(second, Request)
    assert second.header(b"authorization") == b""


def test_a_target_may_name_scheme_and_host() -> None:
    request = only(post(b"x", path="http://api.example.com/v1/chat/completions?q"))

    assert (request.path, request.query) == ("/v1/chat/completions", "q")


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"x", "Connection: close"),
        b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_a_caller_that_does_not_go_on_is_not_waited_for(request_bytes: bytes) -> None:
    request = only(request_bytes)

    assert request.body == b"x"
    assert not request.keep_alive


@pytest.mark.parametrize(
    "junk",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        post(b"x", "Connection: Upgrade", "Upgrade: h2c"),
    ],
)
def test_bytes_that_are_no_request_end_the_reading(junk: bytes) -> None:
    reader = RequestReader()
    *good, bad = reader.feed(get("/stats") + junk)

    assert isinstance(bad, BadRequest)
    assert (bad.status, len(good)) == (400, 1)
    assert reader.feed(get("/stats")) == []


def test_a_request_that_is_too_long_is_read_to_its_end_and_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "MAX_REQUEST_BYTES", 1000)
    reader = RequestReader()
    request = post(b"x" * 5000)
    first = [reader.feed(request[at : at + 500]) for at in range(0, len(request) - 500, 500)]
    (bad,) = reader.feed(request[len(first) * 500 :])

    assert not any(first)
    assert isinstance(bad, BadRequest)
    assert bad.status == 413


def test_what_is_too_long_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_REQUEST_BYTES", 1000)
    reader = RequestReader()
    reader.feed(post(b"x" * 10_000_000)[:200])
    tracemalloc.start()
    for _ in range(100):
        reader.feed(b"x" * 50_000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 500_000


def test_a_body_of_64_mib_is_taken() -> None:
    reader = RequestReader()
    request = post(b"x" * (64 * 2**20))
    pieces = (request[at : at + 2**18] for at in range(0, len(request), 2**18))
    (taken,) = (one for piece in pieces for one in reader.feed(piece))

    assert isinstance(taken, Request)
    assert len(taken.body) == 64 * 2**20


def test_a_sender_that_holds_its_body_back_is_noticed() -> None:
    reader = RequestReader()
    request = post(b"body", "expect: 100-Continue")
    before = reader.awaits_continue
    reader.feed(request[:-4])
    held_back = reader.awaits_continue
    reader.feed(request[-4:-2])
    begun = reader.awaits_continue
    (whole,) = reader.feed(request[-2:])

    assert (before, held_back, begun, reader.awaits_continue) == (False, True, False, False)
    assert isinstance(whole, Request)
    assert whole.body == b"body"


def test_a_body_that_is_not_held_back_needs_no_word() -> None:
    reader = RequestReader()
    reader.feed(post(b"body")[:-4])

    assert not reader.awaits_continue
