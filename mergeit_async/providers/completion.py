"""The chat-completions wire format: a request as bytes, and bytes as a reply."""

from __future__ import annotations

from typing import Any

import orjson

from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.records import ChatReply, ChatRequest

# More than any reply can have used; what is beyond is no count.
_MOST_TOKENS = 10**9
# Replies that may lack a text: the model was cut off before it wrote any.
_TEXTLESS_REASONS = frozenset({"length", "content_filter"})


def write_request(request: ChatRequest, limit_name: str) -> bytes:
    """The request body; `limit_name` is what the server calls the limit of output tokens.

    Raises ProviderError of kind BAD_REQUEST for text that is no Unicode (a lone surrogate).
    """
    body = {
        "model": request.model,
        "messages": request.messages,
        "temperature": request.temperature,
        limit_name: request.max_tokens,
        "seed": request.sample,
    }
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise ProviderError(
            FaultKind.BAD_REQUEST, f"the request cannot be sent: {error}"
        ) from error


def read_reply(body: bytes) -> ChatReply | None:
    """The reply in a response body, or None where it is no well-formed completion.

    A refusal has its own words as text and "refusal" as finish reason.
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
    return ChatReply(text, reason, *_read_usage(value.get("usage")))


def _read_usage(usage: Any) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    return _read_count(usage, "prompt_tokens"), _read_count(usage, "completion_tokens")


def _read_count(usage: dict[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if type(count) is int and 0 <= count <= _MOST_TOKENS else None
