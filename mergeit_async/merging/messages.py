"""The requests that ask for one group's merge: the first, and the one that has a reply mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import orjson

from mergeit_async.ids import digest, preamble_id, request_key
from mergeit_async.records import ChatRequest, Example, Group, Message, Row

# What chat formats add around the text of a turn: its role and its delimiters.
TOKENS_PER_MESSAGE = 4
# Room for what a merge adds to its sources, and for short sources at all.
EXTRA_TOKENS = 512
# How long a reply may be for its sources; notes are about as long as they are, in more pieces.
SHARE, SHARE_WITH_NOTES = 2, 4
# An attempt that is shown again is cut at so many characters for each token that it was allowed.
# Texts have four or five a token, so only replies that went on past their limit are cut.
ATTEMPT_CHARACTERS_PER_TOKEN = 8
# Stands for an attempt without any text: servers refuse empty turns.
EMPTY_ATTEMPT = "(empty)"
# Changes with whatever changes the requests of a group: their words, limits or keys.
REQUEST_VERSION = "request/1"


class Prompt(Protocol):
    """A prompt version: the turns that never change, and the user turn for some rows."""

    @property
    def preamble(self) -> tuple[Message, ...]:
        """The system message and few-shot turns, the same in every call."""

    def ask(self, rows: Sequence[Row | Example]) -> str:
        """The user turn that asks for the merge of `rows`."""


class Repair(Protocol):
    """A prompt version that goes on where the reply to another was not good enough."""

    def ask(self, rows: Sequence[Row | Example], defects: Sequence[str], attempt: str) -> str:
        """The user turn that asks to mend `attempt`, a merge of `rows` with these `defects`."""


def build_request(
    prompt: Prompt,
    group: Group,
    *,
    endpoint: str,
    model: str,
    temperature: float,
    max_output_tokens: int,
    sample: int,
    response_format: bytes = b"",
    has_notes: bool = False,
) -> ChatRequest:
    """The `sample`-th request for `group`, with its key (see `ids.request_key`).

    The reply may be twice as long as the sources and `EXTRA_TOKENS` more, at most
    `max_output_tokens`: a merge says all that they say, and what connects it. With `has_notes` it
    says all of that once more, in pieces, which takes as much again.
    """
    share = SHARE_WITH_NOTES if has_notes else SHARE
    draft = ChatRequest(
        key="",
        model=model,
        messages=(*prompt.preamble, Message("user", prompt.ask(group.rows))),
        temperature=temperature,
        max_tokens=min(max_output_tokens, share * _source_tokens(group.rows) + EXTRA_TOKENS),
        sample=sample,
        estimated_prompt_tokens=0,
        response_format=response_format,
    )
    return identify_request(draft, endpoint, prompt.preamble)


def build_repair_request(
    asked: ChatRequest,
    prompt: Prompt,
    repair: Repair,
    group: Group,
    *,
    attempt: str,
    defects: Sequence[str],
    endpoint: str,
) -> ChatRequest:
    """`asked`, a request of `prompt` for `group`, gone on with to have `attempt` mended.

    It is the conversation in which the attempt was given, so that a server's prompt cache knows
    its beginning, and the turn of `repair` after it, which names the `defects`.
    """
    shown = _show_attempt(attempt, asked.max_tokens)
    answer = Message("assistant", shown)
    turn = Message("user", repair.ask(group.rows, defects, shown))
    draft = asked._replace(messages=(*asked.messages, answer, turn))
    return identify_request(draft, endpoint, prompt.preamble)


def build_response_format(form: str, schema: Mapping[str, Any], name: str = "merged_row") -> bytes:
    """The parameter `response_format` as JSON, for a reply of that `name` that fits `schema`.

    `form` is text (nothing is sent), json_object or json_schema. Strict is asked for where the
    schema permits it: OpenAI turns down every request whose strict schema leaves keys open.
    Raises ValueError for another form.
    """
    match form:
        case "text":
            return b""
        case "json_object":
            return orjson.dumps({"type": form})
        case "json_schema":
            shape = {"name": name, "strict": _is_closed(schema), "schema": dict(schema)}
            return orjson.dumps({"type": form, form: shape})
    raise ValueError(f"{form!r} is no form of a reply; choose text, json_object or json_schema.")


def identify_request(
    draft: ChatRequest, endpoint: str, preamble: tuple[Message, ...]
) -> ChatRequest:
    """`draft`, whose messages begin with `preamble`, with its key and about its prompt's tokens.

    What is not sent is not part of the key.
    """
    beginning, tokens = _identify(preamble, draft.response_format)
    *earlier, turn = draft.messages[len(preamble) :]
    if earlier:
        beginning = digest([beginning, preamble_id(tuple(earlier))])
    parameters = {"temperature": draft.temperature, "max_tokens": draft.max_tokens}
    if draft.top_logprobs:
        parameters["top_logprobs"] = draft.top_logprobs
    key = request_key(
        endpoint=endpoint,
        model=draft.model,
        preamble=beginning,
        turn=turn,
        parameters=parameters,
        sample=draft.sample,
    )
    for message in (*earlier, turn):
        tokens += _turn_tokens(message)
    return draft._replace(key=key, estimated_prompt_tokens=tokens)


def estimate_tokens(*texts: str) -> int:
    """About how many tokens these texts have, without any model's vocabulary.

    Four bytes a token for ASCII, as BPE vocabularies do on English; each further UTF-8 byte of a
    character counts one and a half, which makes about one token of a Chinese, Japanese or Hindi
    character and 0.6 of a Cyrillic or Greek one. Dense code and old vocabularies need up to a
    third more, so this guess feeds limits and reservations and is settled by the reported usage.
    """
    tokens = 0
    for text in texts:
        n_bytes = len(text) if text.isascii() else len(text.encode(errors="replace"))
        tokens -= (len(text) - 3 * n_bytes) // 8
    return tokens


# The preamble is one tuple per prompt version and is hashed once, not once a request.
@lru_cache(maxsize=64)
def _identify(preamble: tuple[Message, ...], response_format: bytes) -> tuple[str, int]:
    """The id of what all requests of a prompt begin with, and about how many tokens it is."""
    beginning, tokens = preamble_id(preamble), sum(map(_turn_tokens, preamble))
    if not response_format:
        return beginning, tokens
    # Servers write the form into the prompt and count it there.
    form = response_format.decode()
    return digest([beginning, "response_format", form]), tokens + estimate_tokens(form)


def _show_attempt(attempt: str, max_tokens: int) -> str:
    """A reply as a turn of the conversation; half a character, which no request carries, is "?"."""
    shown = attempt[: ATTEMPT_CHARACTERS_PER_TOKEN * max_tokens]
    return shown.encode(errors="replace").decode() if shown.strip() else EMPTY_ATTEMPT


def _is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether every key is required and no other is allowed, in objects within it as well."""
    if "items" in schema:
        return _is_closed(schema["items"])
    if "properties" not in schema:
        return schema.get("type") not in ("object", "array")
    properties = schema["properties"]
    is_whole = set(properties) == set(schema.get("required", ()))
    is_bounded = schema.get("additionalProperties") is False
    return is_whole and is_bounded and all(map(_is_closed, properties.values()))


def _turn_tokens(turn: Message) -> int:
    return TOKENS_PER_MESSAGE + estimate_tokens(turn.content)


def _source_tokens(rows: Sequence[Row]) -> int:
    return sum([estimate_tokens(row.instruction, row.input, row.output) for row in rows])
