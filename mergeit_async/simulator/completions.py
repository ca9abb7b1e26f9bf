"""Chat completions as bytes: what the model says, in the frame that OpenAI puts around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from mergeit_async.simulator.calls import CHARS_PER_TOKEN, ChatCall, count_tokens

Task = Literal["merge", "repair", "judge", "talk"]

# Written by hand, as it costs a third of building and dumping it. No clock in `created`: equal
# bodies get equal bytes.
_COMPLETION = (
    b'{"id":"chatcmpl-%b","object":"chat.completion","created":0,"model":%b,"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":%b,"refusal":%b}%b,"finish_reason":"%b"}],"usage":'
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%b}}'
)
_CACHED = b',"prompt_tokens_details":{"cached_tokens":%d}'


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text, and what could have stood in its place, the likeliest first.

    `likely` holds tokens with their natural log-probabilities; `text` is one of them.
    """

    text: str
    likely: Sequence[tuple[str, float]]


@dataclass(slots=True)  # not frozen: made for each request
class Utterance:
    """What the model says, and to which task; `refusal` is said instead of `text`.

    `fault` is the content fault that was injected. `tokens` make up the text where they are known.
    """

    text: str
    task: Task = "merge"
    finish_reason: str = "stop"
    refusal: str | None = None
    fault: str | None = None
    tokens: Sequence[Token] = ()


@dataclass(slots=True)  # not frozen: made for each request
class ChatAnswer:
    """A whole answer: the response body as bytes, its token counts, and the content fault in it.

    `cached_tokens` is None where the server has no prompt cache to report about.
    """

    body: bytes
    prompt_tokens: int
    completion_tokens: int
    task: Task
    fault: str | None
    cached_tokens: int | None = None


def complete(
    call: ChatCall,
    digest: bytes,
    said: Utterance,
    *,
    tells_logprobs: bool,
    cached_tokens: int | None = None,
) -> ChatAnswer:
    """The answer to `call` that says this, no longer than it asks for."""
    completion_tokens = len(said.tokens) or count_tokens(said.refusal or said.text) or 1
    if call.max_tokens is not None and completion_tokens > call.max_tokens:
        said, completion_tokens = _cut(said, call.max_tokens), call.max_tokens
    asked = call.top_logprobs
    body = _COMPLETION % (
        digest.hex().encode(),
        as_json(call.model),
        b"null" if said.refusal else as_json(said.text),
        as_json(said.refusal) if said.refusal else b"null",
        _write_logprobs(said.tokens, asked) if tells_logprobs and asked is not None else b"",
        said.finish_reason.encode(),
        call.prompt_tokens,
        completion_tokens,
        call.prompt_tokens + completion_tokens,
        b"" if cached_tokens is None else _CACHED % cached_tokens,
    )
    return ChatAnswer(
        body, call.prompt_tokens, completion_tokens, said.task, said.fault, cached_tokens
    )


def as_json(value: object) -> bytes:
    """`value` as JSON."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # A row may hold half of an escaped surrogate pair; the standard library escapes it again.
        return json.dumps(value).encode()


def _cut(said: Utterance, max_tokens: int) -> Utterance:
    tokens = said.tokens[:max_tokens]
    text = "".join(token.text for token in tokens) or said.text[: max_tokens * CHARS_PER_TOKEN]
    return replace(said, text=text, tokens=tokens, finish_reason="length")


def _write_logprobs(tokens: Sequence[Token], top: int) -> bytes:
    content = [
        _tell(token.text, dict(token.likely)[token.text])
        | {"top_logprobs": [_tell(*likely) for likely in token.likely[:top]]}
        for token in tokens
    ]
    return b',"logprobs":' + (as_json({"content": content}) if content else b"null")


def _tell(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": None}
