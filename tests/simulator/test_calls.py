from __future__ import annotations

from typing import Any

import orjson
import pytest

from mergeit_async.simulator.calls import ChatCall, read_call


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

    assert call == ChatCall("m", "new?", 5, None, False)


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
    ],
)
def test_a_body_that_is_no_chat_request_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_call(bad)
