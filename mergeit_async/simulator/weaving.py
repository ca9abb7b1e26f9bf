"""A plausible merge without a model: the source rows of a prompt, woven into one row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from mergeit_async.records import Example

_DECODER = json.JSONDecoder()
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

_INSTRUCTION_LINKS = (
    "Once that is done, take on a task that belongs with it.",
    "With that settled, carry on with a related request.",
    "In the same answer, also deal with what follows from a neighbouring question.",
)
_INPUT_LINKS = (
    "This belongs to the {nth} task:",
    "Use this for the {nth} task:",
    "The {nth} task works on this:",
)
_OUTPUT_LINKS = (
    "Turning to the {nth} task:",
    "As for the {nth} task:",
    "That leads to the {nth} task:",
)
_LINKS = tuple(product(_INSTRUCTION_LINKS, _INPUT_LINKS, _OUTPUT_LINKS))
WORDINGS = len(_LINKS)


def find_sources(prompt: str) -> list[Example]:
    """The rows written as JSON objects anywhere in `prompt`, in order.

    A row has the strings "instruction" and "output", and may have an "input". Objects around
    rows are looked into; a placeholder without a letter or digit is no row.
    """
    return [example for value in _json_objects(prompt) if (example := _as_source(value))]


def weave(sources: Sequence[Example], wording: int) -> Example:
    """One row that holds every word of `sources`, joined by linking sentences.

    `wording` picks one of the WORDINGS, from 0.
    """
    instruction_link, input_link, output_link = _LINKS[wording]
    return Example(
        instruction=_weave_instructions(sources, instruction_link),
        input=_weave_inputs(sources, input_link),
        output=_weave_outputs(sources, output_link),
    )


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    start = text.find("{")
    while start >= 0:
        end = start + 1
        try:
            value, stop = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and "instruction" in value:
            yield value
            end = stop
        start = text.find("{", end)


def _as_source(value: dict[str, Any]) -> Example | None:
    instruction, given, output = value["instruction"], value.get("input"), value.get("output")
    if not (isinstance(instruction, str) and isinstance(output, str)):
        return None
    if not any(map(str.isalnum, instruction)):
        return None
    return Example(instruction, given if isinstance(given, str) else "", output)


def _weave_instructions(sources: Sequence[Example], link: str) -> str:
    return f" {link} ".join(_end_sentence(source.instruction) for source in sources)


def _end_sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "?", "!", ":")) else f"{text}."


def _weave_inputs(sources: Sequence[Example], link: str) -> str:
    parts = [
        f"{link.format(nth=_ordinal(position))} {source.input}"
        for position, source in enumerate(sources)
        if source.input
    ]
    return "\n\n".join(parts)


def _weave_outputs(sources: Sequence[Example], link: str) -> str:
    first, *others = (source.output for source in sources)
    parts = [
        f"{link.format(nth=_ordinal(position))}\n{output}"
        for position, output in enumerate(others, start=1)
    ]
    return "\n\n".join([first, *parts])


def _ordinal(position: int) -> str:
    return _ORDINALS[position] if position < len(_ORDINALS) else "next"
