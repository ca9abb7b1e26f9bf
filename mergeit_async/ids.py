"""Identity by content: equal content has the equal id, on every machine and in every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import orjson

from mergeit_async.records import Example, Message

DIGEST_BYTES = 16


def canonical_json(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no white space; the input of every hash here."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """The 128-bit BLAKE2b of the canonical JSON of `value`, as 32 hex digits."""
    return blake2b(canonical_json(value), digest_size=DIGEST_BYTES).hexdigest()


def row_id(example: Example, occurrence: int) -> str:
    """The id of the `occurrence`-th row (from 0) with these three fields."""
    return digest([example.instruction, example.input, example.output, occurrence])


def group_id(row_ids: Iterable[str]) -> str:
    """The id of a group of rows, in order."""
    return digest(["group", *row_ids])


def merged_id(example: Example, of_group: str) -> str:
    """The id of the row that a group became."""
    return digest([example.instruction, example.input, example.output, of_group])


def request_key(
    *,
    endpoint: str,
    model: str,
    preamble: str,
    turn: Message,
    parameters: Mapping[str, float | int | str],
    sample: int,
) -> str:
    """The identity of one call.

    `preamble` is the `preamble_id` of the turns before the last, `turn` the last one, the user's.
    `endpoint` is the name of a group of interchangeable servers, never a URL, so that a moved
    server does not invalidate paid replies. `sample` numbers repeated draws.
    """
    return digest(["request", endpoint, model, preamble, turn.content, dict(parameters), sample])


def preamble_id(messages: tuple[Message, ...]) -> str:
    """The identity of the turns that all calls of a prompt begin with."""
    return digest([[message.role, message.content] for message in messages])
