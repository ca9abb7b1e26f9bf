from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.providers.answer import (
    MAX_ERROR_BYTES,
    MAX_REPLY_BYTES,
    Answer,
    BadAnswer,
    most_bytes,
    unpack,
)


def packed(body: bytes, encoding: str, status: int = 200) -> Answer:
    return Answer(status, {"content-encoding": encoding}, body)


@given(st.binary(max_size=2000))
def test_what_was_packed_in_any_known_way_is_unpacked(content: bytes) -> None:
    assert unpack(packed(gzip.compress(content), "gzip")).body == content
    assert unpack(packed(gzip.compress(content), " X-GZIP ")).body == content
    assert unpack(packed(zlib.compress(content), "deflate")).body == content
    assert unpack(packed(zlib.compress(content, wbits=-15), "deflate")).body == content


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_what_is_not_packed_stays_as_it_is(encoding: str) -> None:
    answer = packed(b"as it is", encoding)

    assert unpack(answer) is answer


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
def test_nothing_is_nothing_in_any_encoding(encoding: str) -> None:
    assert unpack(packed(b"", encoding)).broken is None


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"not packed", "gzip"),
        (b"not packed", "deflate"),
        (gzip.compress(b"cut off", mtime=0)[:-1], "gzip"),
        (zlib.compress(b"cut off")[:-5], "deflate"),
        (b"what is this", "br"),
        (gzip.compress(b"twice", mtime=0), "gzip, gzip"),
    ],
)
def test_what_cannot_be_unpacked_is_broken_and_empty(body: bytes, encoding: str) -> None:
    answer = unpack(packed(body, encoding))

    assert isinstance(answer.broken, BadAnswer)
    assert answer.body == b""


@given(st.binary(min_size=1, max_size=50), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_unpacked_or_broken(body: bytes, encoding: str) -> None:
    answer = unpack(packed(body, encoding))

    assert answer.body == b"" or answer.broken is None


def test_why_an_answer_was_broken_off_is_not_forgotten() -> None:
    lost = ConnectionError("lost")
    body = gzip.compress(b"cut off")[:-1]

    assert unpack(Answer(200, {"content-encoding": "gzip"}, body, lost)).broken is lost


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_may_not_unpack_to_more_than_may_come(status: int) -> None:
    limit = most_bytes(status)
    fits, too_large = (gzip.compress(bytes(size), 1) for size in (limit, limit + 1))

    assert len(unpack(packed(fits, "gzip", status)).body) == limit
    assert "more than" in str(unpack(packed(too_large, "gzip", status)).broken)


def test_of_errors_less_is_taken_than_of_replies() -> None:
    assert [most_bytes(status) for status in (200, 299)] == [MAX_REPLY_BYTES] * 2
    assert [most_bytes(status) for status in (0, 199, 300, 500)] == [MAX_ERROR_BYTES] * 4
