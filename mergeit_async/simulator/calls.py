"""Chat-completions request bodies, as far as the simulated server cares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any

import orjson

CHARS_PER_TOKEN = 4
_DIGEST_BYTES = 16
_USER_TURN = b',{"role":"user"'
_MOST_LOGPROBS = 20


@dataclass(slots=True)  # not frozen: made for each request
class ChatCall:
    """One parsed call: `prompt` is the text of the last user turn, `preamble` all turns before.

    `response_format` is that parameter as it came, None where it did not. `top_logprobs` is the
    number of alternatives asked for at each token, None where no log-probabilities are.
    `says_json` is known for calls that ask for a json_object, which have to say that word.
    """

    model: str
    prompt: str
    prompt_tokens: int
    max_tokens: int | None
    preamble: Sequence[Any] = ()
    response_format: Any = None
    top_logprobs: int | None = None
    says_json: bool = False


@dataclass(frozen=True, slots=True)
class Beginning:
    """What many bodies begin with, read once: members, and turns with their length in all."""

    members: Mapping[str, Any]
    turns: list[Any]
    characters: int


_NOTHING = Beginning({}, [], 0)


class BodyReader:
    """Digests and reads bodies, quickly where one begins as the one before did.

    In the calls of a run all turns but the last are the same, and they are most of the body.
    """

    def __init__(self) -> None:
        self._start = b""
        self._digested = blake2b(digest_size=_DIGEST_BYTES)
        self._beginning: Beginning | None = None

    def read(self, body: bytes) -> tuple[bytes, ChatCall | ValueError]:
        """The `body_digest`, and what `read_call` makes of the body, or why it can not."""
        if not (self._start and body.startswith(self._start)):
            self._learn(body[: max(0, body.rfind(_USER_TURN))])
        rest = body[len(self._start) :]
        digested = self._digested.copy()
        digested.update(rest)
        return digested.digest(), self._read_call(body, rest)

    def _read_call(self, body: bytes, rest: bytes) -> ChatCall | ValueError:
        # Were there more lists of messages, the last one would count.
        if self._beginning and b'"messages"' not in rest:
            try:
                return _read_members(orjson.loads(b'{"messages":[' + rest[1:]), self._beginning)
            except ValueError:
                pass  # which is better said of the whole
        try:
            return read_call(body)
        except ValueError as error:
            return error

    def _learn(self, start: bytes) -> None:
        self._start = start
        self._digested = blake2b(start, digest_size=_DIGEST_BYTES)
        self._beginning = _read_beginning(start) if start else None


def body_digest(body: bytes) -> bytes:
    """What a request is counted under: the 128-bit BLAKE2b of its body."""
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()


def read_call(body: bytes) -> ChatCall:
    """Parse a request body. Raises ValueError with the reason it cannot be answered."""
    return _read_members(orjson.loads(body), _NOTHING)


def count_tokens(text: str) -> int:
    """A rough count, four characters each, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def count_turn_tokens(turns: Sequence[Any]) -> int:
    """The tokens of turns in all; they must be well-formed."""
    return -(-_characters_in(turns) // CHARS_PER_TOKEN)


def text_of(turn: Any) -> str:
    """The text of one turn. Raises ValueError where it is none."""
    if not isinstance(turn, dict):
        raise ValueError("each of 'messages' must be an object")
    content = turn.get("content") or ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return _join_parts(content)
    raise ValueError("'content' must be a string or a list of parts")


def format_type(form: Any) -> str | None:
    """The type that a `response_format` names; None where it names none."""
    named = form.get("type") if isinstance(form, dict) else None
    return named if isinstance(named, str) else None


def _read_beginning(start: bytes) -> Beginning | None:
    """What is known before the last user turn; None where `start` is no open list of turns."""
    try:
        members = orjson.loads(start + b"]}")
        # The list left open is that of the last member.
        if not isinstance(members, dict) or next(reversed(members), None) != "messages":
            return None
        turns = members.pop("messages")
        return Beginning(members, turns, _characters_in(turns))
    except ValueError:
        return None


def _read_members(value: Any, before: Beginning) -> ChatCall:
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    if before.members:
        value = {**before.members, **value}
    turns = value.get("messages")
    if not isinstance(value.get("model"), str):
        raise ValueError("you must provide a model parameter")
    if not isinstance(turns, list) or not turns:
        raise ValueError("'messages' must be a non-empty list")
    if value.get("stream"):
        raise ValueError("this server does not stream")
    prompt, last, characters = None, 0, before.characters
    for position, turn in enumerate(turns):
        text = text_of(turn)
        characters += len(text)
        if turn.get("role") == "user":
            prompt, last = text, position
    if prompt is None and before.turns:
        raise ValueError("the last user turn is further ahead")
    form = value.get("response_format")
    return ChatCall(
        value["model"],
        prompt or "",
        -(-characters // CHARS_PER_TOKEN),
        _max_tokens(value),
        [*before.turns, *turns[:last]] if last else before.turns,
        form,
        _top_logprobs(value) if "logprobs" in value else None,
        form is not None and format_type(form) == "json_object" and _say_json(turns, before),
    )


def _characters_in(turns: Sequence[Any]) -> int:
    return sum(len(text_of(turn)) for turn in turns)


def _say_json(turns: Sequence[Any], before: Beginning) -> bool:
    return any("json" in text_of(turn).lower() for turn in chain(turns, before.turns))


def _join_parts(parts: list[Any]) -> str:
    texts = [part.get("text", "") for part in parts if isinstance(part, dict)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("the 'text' of a part must be a string")
    return "".join(texts)


def _max_tokens(value: dict[str, Any]) -> int | None:
    limit = value.get("max_completion_tokens", value.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError("'max_tokens' must be a positive integer")
    return limit


def _top_logprobs(value: dict[str, Any]) -> int | None:
    if not value["logprobs"]:
        return None
    number = value.get("top_logprobs") or 0
    if not isinstance(number, int) or not 0 <= number <= _MOST_LOGPROBS:
        raise ValueError(f"'top_logprobs' must be an integer from 0 to {_MOST_LOGPROBS}")
    return number
