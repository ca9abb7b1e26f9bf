"""The request for a group: what is sent, what identifies it, how large it may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.merging.messages import EXTRA_TOKENS, build_request, estimate_tokens
from mergeit_async.records import ChatRequest, Example, Group, Message, Row


class Plain:
    """A prompt of a few words, to see what the request adds."""

    preamble = (Message("system", "Merge."), Message("user", "a"), Message("assistant", "b"))

    def ask(self, rows: Sequence[Row | Example]) -> str:
        return " + ".join(row.instruction for row in rows)


def _group(*texts: str) -> Group:
    rows = tuple(Row(text, text, "", text, at, at + 1) for at, text in enumerate(texts))
    return Group(position=0, topic=0, id="g", rows=rows, similarity=0.6)


def _build(group: Group, *, model: str = "m", sample: int = 0, most: int = 4096) -> ChatRequest:
    return build_request(
        Plain(),
        group,
        endpoint="main",
        model=model,
        temperature=0.25,
        max_output_tokens=most,
        sample=sample,
    )


def test_the_question_follows_the_preamble() -> None:
    request = _build(_group("Add.", "Count."))

    assert request.messages == (*Plain.preamble, Message("user", "Add. + Count."))
    assert (request.model, request.temperature, request.sample) == ("m", 0.25, 0)


def test_equal_requests_have_equal_keys_and_all_else_differs() -> None:
    group = _group("Add.", "Count.")

    keys = [
        _build(group).key,
        _build(group, sample=1).key,
        _build(group, model="n").key,
        _build(group, most=17).key,
        _build(_group("Count.", "Add.")).key,
    ]

    assert _build(group).key == keys[0]
    assert len(set(keys)) == 5


def test_keys_are_what_they_always_were() -> None:
    assert _build(_group("Add.", "Count."), sample=1).key == "a19876c85d251068f9e59a77d999fae6"


def test_the_reply_may_be_twice_as_long_as_the_sources_and_some_more() -> None:
    request = _build(_group("x" * 400, "y" * 800))

    assert request.max_tokens == 2 * (2 * 100 + 2 * 200) + EXTRA_TOKENS


def test_the_reply_is_never_longer_than_the_limit() -> None:
    assert _build(_group("x" * 90_000, "y"), most=1000).max_tokens == 1000


def test_the_estimate_covers_every_turn() -> None:
    small, large = _build(_group("x", "y")), _build(_group("x", "y" * 401))

    assert small.estimated_prompt_tokens > 4 * len(small.messages)
    assert large.estimated_prompt_tokens - small.estimated_prompt_tokens == 100


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("漢字漢字", 4), ("Кошка", 4), ("\ud800", 1)],
)
def test_tokens_are_estimated_from_the_bytes(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(st.text() | st.text("ascii \n"))
def test_tokens_of_any_text_follow_one_formula(text: str) -> None:
    n_more_bytes = len(text.encode()) - len(text)

    assert estimate_tokens(text) == math.ceil(len(text) / 4 + n_more_bytes * 3 / 8)
