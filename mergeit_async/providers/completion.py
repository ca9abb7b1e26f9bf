"""The chat-completions wire format: a request as bytes, and bytes as a reply."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from math import isfinite
from typing import Any

import orjson

from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.records import ChatReply, ChatRequest, Message, RateLimits, TokenChoice

# More than any reply can have used; what is beyond is no count.
_MOST_TOKENS = 10**9
# Replies that may lack a text: the model was cut off before it wrote any.
_TEXTLESS_REASONS = frozenset({"length", "content_filter"})
# Of token probabilities, what a score of a few words needs, and what servers offer at most.
_MOST_CHOICES = 64
_MOST_ALTERNATIVES = 20
# A certain token has the log-probability 0, to which some servers come from above.
_ROUNDING = 1e-4


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
    if request.top_logprobs:
        parameters |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    try:
        beginning = _write_beginning(request.model, request.response_format, request.messages[:-1])
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

    A refusal has its own words as text and "refusal" as finish reason. Token probabilities that
    are not as they should be are no reason to lose a reply: it then has none. `limits` are what
    the headers beside this body said.
    """
    try:
        value = orjson.loads(body)
        choice = value["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        logprobs = choice.get("logprobs")
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
    choices = _read_choices(logprobs) if logprobs else ()
    return ChatReply(text, reason, *_read_usage(value.get("usage")), limits, choices)


# The first turns are the same for all requests of a prompt version. Those of a repair are new each
# time; they pass through without driving out what is in use.
@lru_cache(maxsize=64)
def _write_beginning(model: str, response_format: bytes, first: tuple[Message, ...]) -> bytes:
    """The body up to where the last message belongs, after those that come `first`."""
    shape = {"response_format": orjson.Fragment(response_format)} if response_format else {}
    turns = [turn._asdict() for turn in first]
    whole = orjson.dumps({"model": model, **shape, "messages": turns})
    return whole.removesuffix(b"]}") + (b"," if first else b"")


def _read_choices(logprobs: Any) -> tuple[TokenChoice, ...]:
    """The first tokens with their alternatives; none where any of them is malformed.

    A token that is left out would move the others to where they were not written.
    """
    try:
        return tuple([_read_choice(entry) for entry in logprobs["content"][:_MOST_CHOICES]])
    except (ValueError, LookupError, TypeError, AttributeError):
        return ()


def _read_choice(entry: dict[str, Any]) -> TokenChoice:
    """One token; it is among its alternatives even if the server does not list it there."""
    token = _read_token(entry)
    alternatives = {token: _read_logprob(entry)}
    for other in islice(entry.get("top_logprobs") or (), _MOST_ALTERNATIVES):
        if len(alternatives) < _MOST_ALTERNATIVES:
            # Tokens of half a character may be written alike: the likelier one comes first.
            alternatives.setdefault(_read_token(other), _read_logprob(other))
    return TokenChoice(token, alternatives)


def _read_token(entry: dict[str, Any]) -> str:
    token = entry["token"]
    if not isinstance(token, str):
        raise TypeError("a token is text")
    return token


def _read_logprob(entry: dict[str, Any]) -> float:
    value = entry["logprob"]
    if type(value) not in (int, float) or not isfinite(value) or value > _ROUNDING:
        raise ValueError("a log-probability is a number and not above 0")
    return min(float(value), 0.0)


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
