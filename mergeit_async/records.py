"""The values that travel through a run, from a line of the dataset to a line of the result.

All are immutable. Those of which every call makes some are named tuples: a frozen dataclass takes
more than twice as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

# What a chat format adds around one turn, at most: its role and its delimiters.
MOST_TOKENS_AROUND = 16
NO_EXTRA: Mapping[str, Any] = MappingProxyType({})


class Example(NamedTuple):
    """The three text fields of one instruction-tuning example, without identity."""

    instruction: str
    input: str
    output: str


class Row(NamedTuple):
    """One usable input row after normalising.

    `id` is a hash of the three fields and the occurrence number of equal content.
    `record` counts the file's records from 0, unusable ones included: the row of a precomputed
    vector file. `line` is where a person finds it: the line of a text file, else record + 1.
    `duplicate_of` is the id of the first row with the same three fields, if this is a repeat.
    `extra` holds all other columns as JSON values.
    """

    id: str
    instruction: str
    input: str
    output: str
    record: int
    line: int
    duplicate_of: str | None = None
    extra: Mapping[str, Any] = NO_EXTRA

    @property
    def text(self) -> str:
        """What is embedded: the instruction, and the input after a space (paper, section 3)."""
        return f"{self.instruction} {self.input}" if self.input else self.instruction


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input record that cannot be used: where it stands, a reason code, and the detail."""

    file: str
    record: int
    line: int
    reason: str
    detail: str


class Group(NamedTuple):
    """Rows of one topic that are to become one row.

    `position` is the group's place in the plan, counted from 0 over all topics: the order of the
    export. `similarity` is the lowest cosine between any two members.
    """

    position: int
    topic: int
    id: str
    rows: tuple[Row, ...]
    similarity: float


class Message(NamedTuple):
    """One chat turn; `role` is system, user or assistant."""

    role: str
    content: str


class ChatRequest(NamedTuple):
    """One chat-completions call.

    `key` identifies the call by content; equal keys may share a reply. `sample` numbers the
    draws for the same messages and is sent as the `seed` parameter. `max_tokens` bounds the
    completion; `estimated_prompt_tokens` is our guess for the limits before the server reports.
    `response_format` is that parameter as JSON, empty where none is sent; `top_logprobs` asks for
    so many alternatives to each token of the reply, 0 for none.
    """

    key: str
    model: str
    messages: tuple[Message, ...]
    temperature: float
    max_tokens: int
    sample: int
    estimated_prompt_tokens: int
    response_format: bytes = b""
    top_logprobs: int = 0

    @property
    def most_prompt_tokens(self) -> int:
        """What the prompt cannot exceed: no token is shorter than a byte."""
        # Servers write the form of the reply into the prompt.
        return len(self.response_format) + sum(
            len(message.content.encode(errors="replace")) + MOST_TOKENS_AROUND
            for message in self.messages
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit as a server's headers tell it: per minute, what is left, seconds until it is whole.

    Each is None where the header is missing.
    """

    per_minute: float | None = None
    remaining: float | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What a server says about its limits beside an answer, at the moment of admitting it."""

    requests: Quota | None = None
    tokens: Quota | None = None


class TokenChoice(NamedTuple):
    """One token of a reply, and the log-probabilities of the most likely tokens in its place."""

    token: str
    logprobs: Mapping[str, float]


class ChatReply(NamedTuple):
    """What the server answered. Token counts are as reported, or None where it reports none.

    `cached_tokens` are those of `prompt_tokens` that the server had in its prompt cache. `choices`
    are the tokens with their alternatives, empty where none came. `limits` is what the headers
    said; the journal does not keep it.
    """

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    limits: RateLimits | None = None
    choices: tuple[TokenChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reply is not accepted as a merge: a stable reason code and a sentence of detail.

    `missing` names what a repair has to bring back, a phrase each.
    """

    reason: str
    detail: str
    missing: tuple[str, ...] = ()


class Status(StrEnum):
    """How a group ended: `failed` means the calls never went through, not a bad reply."""

    MERGED = "merged"
    KEPT = "kept"
    FAILED = "failed"


class Outcome(NamedTuple):
    """The end of one group.

    `merged` is set exactly when `status` is MERGED; otherwise the originals stay, and `reason`
    and `detail` say why. `attempts` counts the merges that were asked for and answered. `scores`
    are JSON values: how much of its sources the best attempt keeps, and what a judge gave it.
    """

    position: int
    group_id: str
    status: Status
    attempts: int
    merged: Example | None = None
    reason: str | None = None
    detail: str | None = None
    scores: Mapping[str, Any] | None = None
