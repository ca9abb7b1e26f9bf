"""The process that checks merges: a batch of cases comes in, what the gates say of each goes out.

    python -m mergeit_async.engine.inspector_process DESCRIPTOR

Frames of JSON go over a socket, each after its length. The first tells what the gates need to
know; each later one is a list of cases and is answered by a list of inspections, or by a sentence
on what went wrong.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial
from io import BufferedIOBase
from pathlib import Path
from socket import socket
from typing import Any

import orjson

from mergeit_async.engine.child import ignore_signals
from mergeit_async.errors import StoppedError
from mergeit_async.merging.compose import compose
from mergeit_async.merging.information import measure_information
from mergeit_async.merging.verdict import Gate, Inspection
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import ChatReply, Refusal, Row

LENGTH_BYTES = 8
# What an answer begins with.
FOUND, STOPPED, FAILED = "found", "stopped", "failed"


def main(descriptor: int) -> None:
    """Answer until the other end is closed, or its process is gone."""
    ignore_signals()
    with (
        suppress(BrokenPipeError, ConnectionResetError),
        socket(fileno=descriptor) as run,
        run.makefile("rwb") as stream,
    ):
        knowledge = read_frame(stream)
        while knowledge is not None and (cases := read_frame(stream)) is not None:
            stream.write(frame_of(answer(knowledge, cases)))
            stream.flush()


def frame_of(value: Any) -> bytes:
    """`value` as JSON after its length."""
    content = orjson.dumps(value)
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def read_frame(stream: BufferedIOBase) -> Any:
    """The next frame; None at the end, also where that comes in the middle of a frame."""
    length = int.from_bytes(stream.read(LENGTH_BYTES), "big")
    content = stream.read(length)
    return orjson.loads(content) if length and len(content) == length else None


def answer(knowledge: Sequence[Any], cases: Sequence[Any]) -> tuple[str, Any]:
    """What the gates say of each case, or why they cannot."""
    least, words, few_shots = knowledge
    try:
        gate = build_gate(least, words, tuple(few_shots))
        return FOUND, [as_values(inspect(gate, *case)) for case in cases]
    except StoppedError as error:
        return STOPPED, str(error)
    except Exception:  # whatever it is, the run must hear of it
        return FAILED, traceback.format_exc()


@cache
def build_gate(min_information: float, words: str, few_shots: tuple[str, ...] = ()) -> Gate:
    """The gates of a run; the embedded model is loaded only where it is needed.

    Raises `StoppedError` where the weights of words cannot be read.
    """
    if not min_information:
        return Gate(few_shots=few_shots)
    from mergeit_async.providers.word_vectors import WordVectors

    try:
        weights = WordWeights.from_json(Path(words).read_bytes())
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoppedError(
            f"{words} cannot be read ({error}); remove it, then resume makes it anew."
        ) from error
    vectors = WordVectors()
    vectors.learn(weights.words)
    measure = partial(measure_information, weights=weights, encoder=vectors)
    return Gate(measure, min_information, few_shots)


def inspect(gate: Gate, said: Sequence[Any] | None, sources: Sequence[Sequence[Any]]) -> Inspection:
    """What `gate` says of a reply by its text and end; without one, `sources` are composed."""
    rows = [Row(id_, asked, given, output, 0, 0) for id_, asked, given, output in sources]
    if said is None:
        return gate.examine(compose(rows), rows)
    text, finish_reason = said
    return gate.inspect(ChatReply(text, finish_reason), rows)


def as_values(found: Inspection) -> tuple[Any, ...]:
    """An inspection as JSON values: of an example three texts, of a refusal two and a list."""
    result = found.result
    if isinstance(result, Refusal):
        values: list[Any] = [result.reason, result.detail, list(result.missing)]
    else:
        values = list(result)
    return values, found.information, found.scores, found.defects


if __name__ == "__main__":
    main(int(sys.argv[1]))
