"""The request for a group: what is sent, what identifies it, how large it may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.merging.messages import (
    ATTEMPT_CHARACTERS_PER_TOKEN,
    EMPTY_ATTEMPT,
    EXTRA_TOKENS,
    build_repair_request,
    build_request,
    build_response_format,
    estimate_tokens,
)
from mergeit_async.records import ChatRequest, Example, Group, Message, Row


class Plain:
    """A prompt of a few words, to see what the request adds."""

    preamble = (Message("system", "Merge."), Message("user", "a"), Message("assistant", "b"))

    def ask(self, rows: Sequence[Row | Example]) -> str:
        return " + ".join(row.instruction for row in rows)


def _group(*texts: str) -> Group:
    rows = tuple(Row(text, text, "", text, at, at + 1) for at, text in enumerate(texts))
    return Group(position=0, topic=0, id="g", rows=rows, similarity=0.6)


def _build(
    group: Group,
    *,
    model: str = "m",
    sample: int = 0,
    most: int = 4096,
    response_format: bytes = b"",
) -> ChatRequest:
    return build_request(
        Plain(),
        group,
        endpoint="main",
        model=model,
        temperature=0.25,
        max_output_tokens=most,
        sample=sample,
        response_format=response_format,
    )


class Mend:
    """A repair of a few words."""

    def ask(self, rows: Sequence[Row | Example], defects: Sequence[str], attempt: str) -> str:
        return f"{len(rows)} rows: {', '.join(defects)} of {len(attempt)}"


PAIR = _group("Add.", "Count.")


def _repair(
    attempt: str = "half",
    *defects: str,
    sample: int = 0,
    most: int = 4096,
    response_format: bytes = b"",
) -> ChatRequest:
    return build_repair_request(
        _build(PAIR, sample=sample, most=most, response_format=response_format),
        Plain(),
        Mend(),
        PAIR,
        attempt=attempt,
        defects=defects or ("no 7",),
        endpoint="main",
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


def test_the_form_of_the_reply_is_part_of_the_request_and_of_its_key() -> None:
    group = _group("Add.", "Count.")
    forms = [b"", b'{"type":"json_object"}', b'{"type": "json_object"}']

    requests = [_build(group, response_format=form) for form in forms]

    assert [request.response_format for request in requests] == forms
    assert len({request.key for request in requests}) == 3
    assert requests[0].key == _build(group).key
    assert requests[1].estimated_prompt_tokens > requests[0].estimated_prompt_tokens


def test_a_repair_goes_on_with_the_conversation_of_the_merge() -> None:
    merge, repair = _build(PAIR), _repair("half", "no 7", "no 8", sample=1)

    assert repair.messages == (
        *merge.messages,
        Message("assistant", "half"),
        Message("user", "2 rows: no 7, no 8 of 4"),
    )
    assert repair.max_tokens == merge.max_tokens
    assert repair.temperature == merge.temperature
    assert repair.sample == 1


def test_the_key_of_a_repair_covers_all_that_is_sent() -> None:
    keys = [
        _build(PAIR).key,
        _repair().key,
        _repair("helf").key,
        _repair("half", "no 8").key,
        _repair(sample=1).key,
        _repair(most=99).key,
        _repair(response_format=b'{"type":"json_object"}').key,
    ]

    assert _repair().key == keys[1]
    assert len(set(keys)) == 7


def test_a_repair_asks_for_the_same_form() -> None:
    assert _repair(response_format=b'{"type":"text"}').response_format == b'{"type":"text"}'


def test_the_estimate_of_a_repair_covers_the_attempt_and_what_is_said_of_it() -> None:
    small = _repair("x", "y").estimated_prompt_tokens

    assert small > _build(PAIR).estimated_prompt_tokens + 4 + 4
    assert _repair("x" * 401, "y").estimated_prompt_tokens - small == pytest.approx(100, abs=1)
    assert _repair("x", "y" * 401).estimated_prompt_tokens - small == 100


@pytest.mark.parametrize("attempt", ["", " \n\t"])
def test_an_attempt_without_text_is_said_to_be_empty(attempt: str) -> None:
    assert _repair(attempt).messages[-2] == Message("assistant", EMPTY_ATTEMPT)


def test_an_attempt_far_beyond_what_was_allowed_is_cut() -> None:
    longest = ATTEMPT_CHARACTERS_PER_TOKEN * 100

    whole, cut = _repair("x" * longest, most=100), _repair("x" * (longest + 1), most=100)

    assert whole.messages[-2].content == "x" * longest
    assert cut == whole


def test_half_a_character_in_an_attempt_can_be_sent() -> None:
    assert _repair("é \ud83d").messages[-2].content == "é ?"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"output": {"type": "string"}, "input": {"type": "string"}},
    "required": ["output", "input"],
    "additionalProperties": False,
}


def test_a_form_of_reply_is_the_parameter_of_chat_completions() -> None:
    assert build_response_format("text", SCHEMA) == b""
    assert build_response_format("json_object", SCHEMA) == b'{"type":"json_object"}'
    assert orjson.loads(build_response_format("json_schema", SCHEMA)) == {
        "type": "json_schema",
        "json_schema": {"name": "merged_row", "strict": True, "schema": SCHEMA},
    }


def test_the_keys_of_a_schema_stay_in_the_order_in_which_they_are_to_be_written() -> None:
    form = build_response_format("json_schema", SCHEMA)

    assert form.index(b'"output"') < form.index(b'"input"')


NOTES = {
    "type": "object",
    "properties": {"asked": {"type": "string"}},
    "required": ["asked"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("notes", "strict"),
    [
        ({"type": "array", "items": NOTES}, True),
        ({"type": "array", "items": {"type": "string"}}, True),
        (NOTES, True),
        ({"type": "array", "items": NOTES | {"additionalProperties": True}}, False),
        ({"type": "array", "items": NOTES | {"required": []}}, False),
        (NOTES | {"properties": {"asked": {"type": "object"}}}, False),
        ({"type": "array"}, False),
    ],
)
def test_a_schema_is_strict_where_all_objects_in_it_are_closed(
    notes: dict[str, Any], strict: bool
) -> None:
    schema = {
        "properties": {"contents": notes},
        "required": ["contents"],
        "additionalProperties": False,
    }
    form = orjson.loads(build_response_format("json_schema", schema))

    assert form["json_schema"]["strict"] is strict


def test_a_form_has_the_name_of_what_it_is_for() -> None:
    form = orjson.loads(build_response_format("json_schema", SCHEMA, "preference"))

    assert form["json_schema"]["name"] == "preference"


def test_notes_have_room_beside_the_merge() -> None:
    group = _group("word " * 40, "word " * 40)
    plain, noted = (
        build_request(
            Plain(),
            group,
            endpoint="main",
            model="m",
            temperature=0.25,
            max_output_tokens=4096,
            sample=0,
            has_notes=has_notes,
        )
        for has_notes in (False, True)
    )

    assert noted.max_tokens - EXTRA_TOKENS == 2 * (plain.max_tokens - EXTRA_TOKENS)


@pytest.mark.parametrize(
    "change", [{"additionalProperties": True}, {"required": ["output"]}, {"required": []}]
)
def test_a_schema_that_leaves_keys_open_is_not_sent_as_strict(change: dict[str, Any]) -> None:
    form = orjson.loads(build_response_format("json_schema", SCHEMA | change))

    assert form["json_schema"]["strict"] is False


def test_an_unknown_form_of_reply_is_an_error() -> None:
    with pytest.raises(ValueError, match="'xml' is no form of a reply"):
        build_response_format("xml", SCHEMA)


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
