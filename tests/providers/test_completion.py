from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.providers.completion import read_reply, write_request
from mergeit_async.records import ChatReply, ChatRequest, Message


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
            st.sampled_from(["choices", "message", "content", "finish_reason", "refusal", "usage"]),
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
