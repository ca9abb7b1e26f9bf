"""The request that asks for one group's merge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from mergeit_async.ids import preamble_id, request_key
from mergeit_async.records import ChatRequest, Example, Group, Message, Row

# What chat formats add around the text of a turn: its role and its delimiters.
TOKENS_PER_MESSAGE = 4
# Room for what a merge adds to its sources, and for short sources at all.
EXTRA_TOKENS = 512


# Changes with whatever changes the requests of a group: their words, limits or keys.
REQUEST_VERSION = "request/1"


class Prompt(Protocol):
    """A prompt version: the turns that never change, and the user turn for some rows."""

    @property
    def preamble(self) -> tuple[Message, ...]:
        """The system message and few-shot turns, the same in every call."""

    def ask(self, rows: Sequence[Row | Example]) -> str:
        """The user turn that asks for the merge of `rows`."""


def build_request(
    prompt: Prompt,
    group: Group,
    *,
    endpoint: str,
    model: str,
    temperature: float,
    max_output_tokens: int,
    sample: int,
) -> ChatRequest:
    """The `sample`-th request for `group`, with its key (see `ids.request_key`).

    The reply may be twice as long as the sources and `EXTRA_TOKENS` more, at most
    `max_output_tokens`: a merge says all that they say, and what connects it.
    """
    preamble, preamble_tokens = _identify(prompt.preamble)
    turn = Message("user", prompt.ask(group.rows))
    max_tokens = min(max_output_tokens, 2 * _source_tokens(group.rows) + EXTRA_TOKENS)
    return ChatRequest(
        key=request_key(
            endpoint=endpoint,
            model=model,
            preamble=preamble,
            turn=turn,
            parameters={"temperature": temperature, "max_tokens": max_tokens},
            sample=sample,
        ),
        model=model,
        messages=(*prompt.preamble, turn),
        temperature=temperature,
        max_tokens=max_tokens,
        sample=sample,
        estimated_prompt_tokens=preamble_tokens + _turn_tokens(turn),
    )


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
def _identify(preamble: tuple[Message, ...]) -> tuple[str, int]:
    """The id of a prompt's first turns, and about how many tokens they are."""
    return preamble_id(preamble), sum(map(_turn_tokens, preamble))


def _turn_tokens(turn: Message) -> int:
    return TOKENS_PER_MESSAGE + estimate_tokens(turn.content)


def _source_tokens(rows: Sequence[Row]) -> int:
    return sum([estimate_tokens(row.instruction, row.input, row.output) for row in rows])
