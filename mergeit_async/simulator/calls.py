"""A chat-completions request body, as far as the simulated server cares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One parsed call: `prompt` is the text of the last user turn."""

    model: str
    prompt: str
    prompt_tokens: int
    max_tokens: int | None
    wants_json: bool


def read_call(body: bytes) -> ChatCall:
    """Parse a request body. Raises ValueError with the reason it cannot be answered."""
    value = orjson.loads(body)
    if not isinstance(value, dict) or not isinstance(value.get("model"), str):
        raise ValueError("you must provide a model parameter")
    turns = value.get("messages")
    if not isinstance(turns, list) or not turns:
        raise ValueError("'messages' must be a non-empty list")
    if value.get("stream"):
        raise ValueError("this server does not stream")
    texts = [_text_of(turn) for turn in turns]
    return ChatCall(
        model=value["model"],
        prompt=_last_user_text(turns, texts),
        prompt_tokens=count_tokens("".join(texts)),
        max_tokens=_max_tokens(value),
        wants_json="response_format" in value,
    )


def count_tokens(text: str) -> int:
    """A rough count, four characters each, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def _text_of(turn: Any) -> str:
    if not isinstance(turn, dict):
        raise ValueError("each of 'messages' must be an object")
    content = turn.get("content") or ""
    if isinstance(content, list):
        content = _join_parts(content)
    if not isinstance(content, str):
        raise ValueError("'content' must be a string or a list of parts")
    return content


def _join_parts(parts: list[Any]) -> str:
    texts = [part.get("text", "") for part in parts if isinstance(part, dict)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("the 'text' of a part must be a string")
    return "".join(texts)


def _last_user_text(turns: list[Any], texts: list[str]) -> str:
    for turn, text in zip(reversed(turns), reversed(texts), strict=True):
        if turn.get("role") == "user":
            return text
    return ""


def _max_tokens(value: dict[str, Any]) -> int | None:
    limit = value.get("max_completion_tokens", value.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError("'max_tokens' must be a positive integer")
    return limit
