from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.providers.completion import read_reply, write_request
from mergeit_async.records import ChatReply, ChatRequest, Message, TokenChoice


def completion(message: Any, reason: Any = "stop", **members: Any) -> bytes:
    return orjson.dumps(
        {"choices": [{"index": 0, "message": message, "finish_reason": reason}], **members}
    )


def test_the_limit_of_output_tokens_has_the_name_that_the_server_knows() -> None:
    request = ChatRequest("key", "m", (Message("user", "hi"),), 0.5, 77, 2, 10)

    body = orjson.loads(write_request(request, "max_completion_tokens"))

    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "max_completion_tokens": 77,
        "seed": 2,
    }


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
MESSAGES = st.lists(st.builds(Message, st.sampled_from(["system", "user"]), TEXTS), min_size=1)


@given(MESSAGES, TEXTS, st.floats(0, 2), st.integers(1, 9999), st.integers(0, 9))
def test_a_body_is_valid_json_of_its_request(
    messages: list[Message], model: str, temperature: float, max_tokens: int, sample: int
) -> None:
    request = ChatRequest("key", model, tuple(messages), temperature, max_tokens, sample, 10)

    assert orjson.loads(write_request(request, "max_tokens")) == {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in messages],
        "temperature": temperature,
        "max_tokens": max_tokens,
        "seed": sample,
    }


def test_what_calls_share_comes_first_and_is_the_same_bytes() -> None:
    def write(turn: str, sample: int) -> bytes:
        # Made anew for each call, as the engine does.
        preamble = (Message("system", "Merge."), Message("user", "one"), Message("assistant", "1"))
        request = ChatRequest("key", "m", (*preamble, Message("user", turn)), 0.5, 77, sample, 10)
        return write_request(request, "max_tokens")

    first, second = write("a", 0), write("b", 1)

    shared = first[: first.index(b'{"role":"user","content":"a"}')]
    assert shared.endswith(b'{"role":"assistant","content":"1"},')
    assert second.startswith(shared)


def test_the_form_of_the_reply_is_sent_as_it_is_before_all_messages() -> None:
    form = b'{"type":"json_schema", "json_schema":{"b":1,"a":2}}'
    turns = (Message("system", "Merge."), Message("user", "a"))
    request = ChatRequest("key", "m", turns, 0.5, 77, 2, 10, response_format=form)

    body = write_request(request, "max_tokens")

    assert body.startswith(b'{"model":"m","response_format":' + form + b',"messages":[{"role":')
    whole = orjson.loads(body)
    assert whole.pop("response_format") == orjson.loads(form)
    assert body != write_request(request._replace(response_format=b""), "max_tokens")
    assert whole == orjson.loads(write_request(request._replace(response_format=b""), "max_tokens"))


def test_token_probabilities_are_asked_for_where_they_are_wanted() -> None:
    request = ChatRequest("key", "m", (Message("user", "hi"),), 0.0, 24, 0, 10, top_logprobs=6)

    asked = orjson.loads(write_request(request, "max_tokens"))
    usual = orjson.loads(write_request(request._replace(top_logprobs=0), "max_tokens"))

    assert asked == {**usual, "logprobs": True, "top_logprobs": 6}
    assert "logprobs" not in usual


@pytest.mark.parametrize("spoilt", [0, 1])
def test_text_that_is_no_unicode_is_a_bad_request_wherever_it_stands(spoilt: int) -> None:
    messages = [Message("system", "fine"), Message("user", "fine")]
    messages[spoilt] = Message("user", "half a pair: \ud83d")
    with pytest.raises(ProviderError) as caught:
        write_request(ChatRequest("key", "m", tuple(messages), 0.5, 77, 0, 10), "max_tokens")

    assert caught.value.kind is FaultKind.BAD_REQUEST


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 64}}, 64),
        ({"prompt_tokens_details": {"cached_tokens": 0}}, 0),
        ({"prompt_cache_hit_tokens": 32, "prompt_cache_miss_tokens": 68}, 32),
        ({"prompt_tokens_details": {"audio_tokens": 0}}, None),
        ({"prompt_tokens_details": None}, None),
        ({"prompt_tokens_details": {"cached_tokens": 101}}, None),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, None),
    ],
)
def test_tokens_from_the_prompt_cache_are_read(usage: dict[str, Any], cached: int | None) -> None:
    counts = {"prompt_tokens": 100, "completion_tokens": 5, **usage}
    reply = read_reply(completion({"content": "yes"}, usage=counts))

    assert reply == ChatReply("yes", "stop", 100, 5, cached)


def test_text_reason_and_usage_are_read() -> None:
    body = completion({"content": "yes"}, usage={"prompt_tokens": 3, "completion_tokens": 4})

    assert read_reply(body) == ChatReply("yes", "stop", 3, 4)


@pytest.mark.parametrize(
    "usage",
    [None, [], {}, {"prompt_tokens": "3", "completion_tokens": -1}, {"prompt_tokens": True}],
)
def test_token_counts_that_are_none_are_missing(usage: Any) -> None:
    assert read_reply(completion({"content": "yes"}, usage=usage)) == ChatReply("yes", "stop")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("content", [None, "", "half"])
def test_a_reply_that_was_cut_off_is_a_reply(reason: str, content: str | None) -> None:
    assert read_reply(completion({"content": content}, reason)) == ChatReply(content or "", reason)


def test_a_refusal_is_a_reply_with_its_own_words() -> None:
    body = completion({"content": None, "refusal": "I cannot."})

    assert read_reply(body) == ChatReply("I cannot.", "refusal")


def test_a_missing_reason_counts_as_a_normal_stop() -> None:
    assert read_reply(completion({"content": "yes", "refusal": None}, None)) == ChatReply(
        "yes", "stop"
    )


def with_logprobs(logprobs: Any) -> bytes:
    value = orjson.loads(completion({"content": "5"}))
    value["choices"][0]["logprobs"] = logprobs
    return orjson.dumps(value)


def read_choices(logprobs: Any) -> tuple[TokenChoice, ...]:
    reply = read_reply(with_logprobs(logprobs))
    assert reply is not None
    assert reply.text == "5"
    return reply.choices


def entry(token: Any = "5", logprob: Any = -0.5, **members: Any) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": [53], **members}


def test_tokens_are_read_with_their_alternatives() -> None:
    others = [entry("5", -0.5), entry("4", -1), entry("�", -9999.0), entry("�", -9999.5)]

    choices = read_choices({"content": [entry("a", 0), entry(top_logprobs=others)]})

    assert choices == (
        TokenChoice("a", {"a": 0.0}),
        TokenChoice("5", {"5": -0.5, "4": -1.0, "�": -9999.0}),
    )


def test_the_written_token_is_among_its_alternatives_even_if_unlisted() -> None:
    listed = [entry(str(at), -at) for at in range(1, 30)]

    ((_, alternatives),) = read_choices({"content": [entry("x", -40.0, top_logprobs=listed)]})

    assert alternatives["x"] == -40.0
    assert len(alternatives) == 20
    assert alternatives["1"] == -1.0


def test_no_more_than_the_first_tokens_are_kept() -> None:
    choices = read_choices({"content": [entry(str(at)) for at in range(99)]})

    assert [choice.token for choice in choices] == [str(at) for at in range(64)]


def test_a_certainty_that_rounding_took_above_0_is_a_certainty() -> None:
    ((_, alternatives),) = read_choices({"content": [entry("5", 1e-7)]})

    assert alternatives == {"5": 0.0}


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        5,
        "yes",
        {"content": None},
        {"content": "yes"},
        {"content": {"5": -1}},
        {"content": 5},
        {"refusal": [entry()]},
        {"content": [None]},
        {"content": [entry(), "5"]},
        {"content": [{"token": "5"}]},
        {"content": [{"logprob": -1.0}]},
        {"content": [entry(5)]},
        {"content": [entry("5", None)]},
        {"content": [entry("5", "-1")]},
        {"content": [entry("5", True)]},
        {"content": [entry("5", 0.7)]},
        {"content": [entry(top_logprobs={"4": -1})]},
        {"content": [entry(top_logprobs=5)]},
        {"content": [entry(top_logprobs=[None])]},
        {"content": [entry(top_logprobs=[entry("4", 2.0)])]},
        {"tokens": ["5"], "token_logprobs": [-0.1]},
    ],
)
def test_probabilities_of_another_shape_are_none_and_the_reply_stays(logprobs: Any) -> None:
    assert read_choices(logprobs) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html></html>",
        b'{"choices": [',
        b'{"error": {"message": "no"}}',
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": "yes"}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": "yes"}]}',
        completion({"content": None}),
        completion({"content": ["yes"]}),
        completion(None),
    ],
)
def test_what_is_no_completion_is_no_reply(body: bytes) -> None:
    assert read_reply(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "message", "content", "finish_reason", "refusal", "usage"),
                    *("logprobs", "token", "logprob", "top_logprobs"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_reply_or_none(value: Any) -> None:
    reply = read_reply(orjson.dumps(value))

    assert reply is None or isinstance(reply.text, str)


@given(JSON, JSON)
def test_any_probabilities_leave_the_reply_as_it_is(content: Any, others: Any) -> None:
    for shape in (content, {"content": content}, {"content": [entry(top_logprobs=others)]}):
        for token, alternatives in read_choices(shape):
            assert token in alternatives
            assert all(value <= 0 for value in alternatives.values())
