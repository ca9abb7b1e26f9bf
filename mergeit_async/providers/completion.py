"""The chat-completions wire format: a request as bytes, and bytes as a reply."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.records import ChatReply, ChatRequest, Message, RateLimits

# More than any reply can have used; what is beyond is no count.
_MOST_TOKENS = 10**9
# Replies that may lack a text: the model was cut off before it wrote any.
_TEXTLESS_REASONS = frozenset({"length", "content_filter"})


def write_request(request: ChatRequest, limit_name: str) -> bytes:
    """The request body; `limit_name` is what the server calls the limit of output tokens.

    What all calls of a prompt share comes first and is the same bytes each time, so that a
    server's prompt cache knows it. Raises ProviderError of kind BAD_REQUEST for text that is no
    Unicode (a lone surrogate).
    """
    parameters = {
        "temperature": request.temperature,
        limit_name: request.max_tokens,
        "seed": request.sample,
    }
    try:
        beginning = _write_beginning(request.model, request.messages[:-1])
        turn = request.messages[-1]
        # orjson writes a dictionary faster than a dataclass.
        ending = orjson.dumps({"role": turn.role, "content": turn.content})
    except orjson.JSONEncodeError as error:
        raise ProviderError(
            FaultKind.BAD_REQUEST, f"the request cannot be sent: {error}"
        ) from error
    return b"".join((beginning, ending, b"],", orjson.dumps(parameters)[1:]))


def read_reply(body: bytes, limits: RateLimits | None = None) -> ChatReply | None:
    """The reply in a response body, or None where it is no well-formed completion.

    A refusal has its own words as text and "refusal" as finish reason. `limits` are what the
    headers beside this body said.
    """
    try:
        value = orjson.loads(body)
        choice = value["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    reason = reason if isinstance(reason, str) else "stop"
    if isinstance(refusal, str) and refusal:
        text, reason = refusal, "refusal"
    if text is None and reason in _TEXTLESS_REASONS:
        text = ""
    if not isinstance(text, str):
        return None
    return ChatReply(text, reason, *_read_usage(value.get("usage")), limits)


# The preamble is the same for all requests of a prompt version.
@lru_cache(maxsize=64)
def _write_beginning(model: str, preamble: tuple[Message, ...]) -> bytes:
    """The body up to where the last message belongs."""
    whole = orjson.dumps({"model": model, "messages": [turn._asdict() for turn in preamble]})
    return whole.removesuffix(b"]}") + (b"," if preamble else b"")


def _read_usage(usage: Any) -> tuple[int | None, int | None, int | None]:
    """The tokens of the prompt, of the completion, and those of the prompt that were cached."""
    if not isinstance(usage, dict):
        return None, None, None
    prompt = _read_count(usage, "prompt_tokens")
    details = usage.get("prompt_tokens_details")
    cached = _read_count(details, "cached_tokens") if isinstance(details, dict) else None
    if cached is None:
        cached = _read_count(usage, "prompt_cache_hit_tokens")  # DeepSeek's name
    if cached is not None and cached > (prompt or 0):
        cached = None
    return prompt, _read_count(usage, "completion_tokens"), cached


def _read_count(usage: dict[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if type(count) is int and 0 <= count <= _MOST_TOKENS else None
