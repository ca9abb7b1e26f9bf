from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.simulator.calls import (
    BodyReader,
    ChatCall,
    body_digest,
    count_turn_tokens,
    read_call,
)


def body(*turns: Any, **members: Any) -> bytes:
    return orjson.dumps({"model": "m", "messages": list(turns), **members})


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_the_prompt_is_the_last_user_turn_and_all_turns_are_counted() -> None:
    call = read_call(
        body(
            turn("system", "12345678"),
            turn("user", "old."),
            turn("user", "new?"),
            turn("assistant", "{"),
        )
    )

    before = [turn("system", "12345678"), turn("user", "old.")]
    assert call == ChatCall("m", "new?", 5, None, before)


def test_content_may_be_given_in_parts() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]

    assert read_call(body(turn("user", parts))).prompt == "one two"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_of_output_tokens_has_two_names(name: str) -> None:
    assert read_call(body(turn("user", "hi"), **{name: 7})).max_tokens == 7


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b"{",
        orjson.dumps({"messages": [turn("user", "hi")]}),
        body(),
        body("hi"),
        body(turn("user", 7)),
        body(turn("user", [{"text": 7}])),
        body(turn("user", "hi"), stream=True),
        body(turn("user", "hi"), max_tokens=0),
        body(turn("user", "hi"), max_tokens="many"),
        body(turn("user", "hi"), logprobs=True, top_logprobs=21),
        body(turn("user", "hi"), logprobs=True, top_logprobs="many"),
    ],
)
def test_a_body_that_is_no_chat_request_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_call(bad)


def test_a_form_of_reply_is_taken_as_it_comes() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x"}}

    assert read_call(body(turn("user", "hi"), response_format=form)).response_format == form
    assert read_call(body(turn("user", "hi"))).response_format is None


@pytest.mark.parametrize(
    ("members", "asked"),
    [
        ({}, None),
        ({"logprobs": False, "top_logprobs": 5}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 5}, 5),
    ],
)
def test_alternatives_are_asked_for_with_logprobs_only(
    members: dict[str, Any], asked: int | None
) -> None:
    assert read_call(body(turn("user", "hi"), **members)).top_logprobs == asked


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_json_may_be_named_in_any_turn(role: str) -> None:
    form = {"type": "json_object"}
    named = body(turn("user", "a"), turn(role, "Some Json."), response_format=form)
    unnamed = body(turn("user", "a"), turn(role, "Some."), response_format=form)

    assert (read_call(named).says_json, read_call(unnamed).says_json) == (True, False)


def test_the_tokens_of_turns_are_counted_together() -> None:
    parts = [{"type": "text", "text": "123"}]

    assert count_turn_tokens([turn("system", "12"), turn("user", parts)]) == 2
    assert count_turn_tokens([]) == 0


def read_alone(body: bytes) -> ChatCall | str:
    try:
        return read_call(body)
    except ValueError as error:
        return str(error)


def read_in_turn(bodies: list[bytes]) -> list[tuple[bytes, ChatCall | str]]:
    reader = BodyReader()
    calls = [reader.read(body) for body in bodies]
    return [(digest, call if isinstance(call, ChatCall) else str(call)) for digest, call in calls]


TURNS = st.lists(
    st.builds(
        turn, st.sampled_from(["user", "system", "assistant"]), st.sampled_from(["", "a", "JSON."])
    ),
    max_size=3,
)
MEMBERS = st.dictionaries(
    st.sampled_from(
        ["max_tokens", "stream", "response_format", "seed", "logprobs", "top_logprobs"]
    ),
    st.integers(0, 2) | st.just({"type": "json_object"}),
)


@given(st.lists(st.tuples(TURNS, MEMBERS), max_size=8))
def test_bodies_read_in_turn_are_what_each_is_alone(
    calls: list[tuple[list[Any], dict[str, Any]]],
) -> None:
    bodies = [body(*turns, **members) for turns, members in calls]
    # As the engine sends them: what many calls share stands before their messages.
    bodies += [
        orjson.dumps({"model": "m", **members, "messages": turns, "seed": 1})
        for turns, members in calls
    ]

    assert read_in_turn(bodies) == [(body_digest(one), read_alone(one)) for one in bodies]


TRICKS = [
    body(turn("system", "s"), turn("user", "one"), turn("assistant", "a"), turn("user", "two")),
    body(turn("system", "s"), turn("user", "one"), turn("assistant", "a"), turn("user", "three")),
    body(turn("system", "s"), turn("user", "one"), turn("assistant", "a"), turn("user", "4"))[:-2],
    body(turn("system", 's,{"role":"user"'), turn("user", "one"), turn("user", 7)),
    body(turn("system", 's,{"role":"user"'), turn("user", "one"), turn("user", "x"), max_tokens=3),
    b'{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{},{"role":"user"}]}',
    b'{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{},{"role":"user"}, 1]}',
    b'{"model":"m","messages":[1,{"role":"user"}],"messages":[{"role":"user","content":"b"}]}',
    b'{"model":"m","messages":[{},{"role":"user"}],"messages":[{"role":"user","content":"c"}]}',
    b'{"model":"m","messages":[{},{"role":"user"}],"messages":[{"role":"user","content":"d"}]}',
    b'{"model":"m","messages":[{"role":"user"},{"role":"user","role":"x","content":"e"}]}',
    b'{"model":"m","messages":[{"role":"user"},{"role":"user","role":"x","content":"f"}]}',
    b'{"a":{"model":"m","messages":[{},{"role":"user","content":"g"}]}}',
    b'{"a":{"model":"m","messages":[{},{"role":"user","content":"h"}]}}',
    b'[1,{"role":"user","content":"i"}]',
    b'[1,{"role":"user","content":"j"}]',
    b'{"messages":[1,{"role":"user","content":"k"}],"model":"m"}',
    b'{"messages":[1,{"role":"user","content":"l"}],"model":"m"}',
    b'{"messages":[{},{"role":"user","content":"m"}],"model":"m"}',
    b'{"messages":[{},{"role":"user","content":"n"}],"model":"o"}',
]


@given(st.lists(st.sampled_from(TRICKS), min_size=2, max_size=6))
def test_no_body_is_taken_for_what_the_one_before_was(bodies: list[bytes]) -> None:
    assert read_in_turn(bodies) == [(body_digest(one), read_alone(one)) for one in bodies]
