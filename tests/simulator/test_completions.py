from __future__ import annotations

from typing import Any

import orjson
import pytest

from mergeit_async.simulator.calls import ChatCall
from mergeit_async.simulator.completions import ChatAnswer, Token, Utterance, complete

TOKENS = (
    Token("It is ", [("It is ", -0.01)]),
    Token("4", [("3", -0.4), ("4", -1.2), ("5", -3.0)]),
    Token(".", [(".", -0.01)]),
)
SAID = Utterance("It is 4.", tokens=TOKENS)


def completed(said: Utterance, max_tokens: int | None = None, top: int | None = None) -> ChatAnswer:
    call = ChatCall("m", "hi", 7, max_tokens, top_logprobs=top)
    return complete(call, b"d", said, tells_logprobs=True)


def choice(answer: ChatAnswer) -> Any:
    return orjson.loads(answer.body)["choices"][0]


def test_probabilities_are_told_token_by_token() -> None:
    content = choice(completed(SAID, top=2))["logprobs"]["content"]

    assert [one["token"] for one in content] == ["It is ", "4", "."]
    assert content[1] == {
        "token": "4",
        "logprob": -1.2,
        "bytes": None,
        "top_logprobs": [
            {"token": "3", "logprob": -0.4, "bytes": None},
            {"token": "4", "logprob": -1.2, "bytes": None},
        ],
    }


def test_without_alternatives_each_token_has_its_own_probability() -> None:
    content = choice(completed(SAID, top=0))["logprobs"]["content"]

    assert [(one["logprob"], one["top_logprobs"]) for one in content] == [
        (-0.01, []),
        (-1.2, []),
        (-0.01, []),
    ]


def test_a_text_of_unknown_tokens_has_no_probabilities() -> None:
    assert choice(completed(Utterance("It is 4."), top=2))["logprobs"] is None


def test_probabilities_are_told_where_both_sides_want_it() -> None:
    call = ChatCall("m", "hi", 7, None, top_logprobs=2)

    assert "logprobs" not in choice(completed(SAID))
    assert "logprobs" not in choice(complete(call, b"d", SAID, tells_logprobs=False))


def test_known_tokens_are_what_is_counted_and_cut() -> None:
    whole, cut = completed(SAID, 3, top=1), completed(SAID, 2, top=1)

    assert (whole.completion_tokens, choice(whole)["finish_reason"]) == (3, "stop")
    assert (cut.completion_tokens, choice(cut)["finish_reason"]) == (2, "length")
    assert choice(cut)["message"]["content"] == "It is 4"
    assert len(choice(cut)["logprobs"]["content"]) == 2


@pytest.mark.parametrize("refusal", [None, "No."])
def test_what_is_refused_is_said_instead_of_a_text(refusal: str | None) -> None:
    message = choice(completed(Utterance("Yes.", refusal=refusal)))["message"]

    assert (message["content"], message["refusal"]) == (
        (None, "No.") if refusal else ("Yes.", None)
    )
