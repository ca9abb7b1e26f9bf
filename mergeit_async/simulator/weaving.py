"""A plausible merge without a model: the source rows of a prompt, woven into one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import orjson

# A row of three texts: instruction, input and output.
Source = dict[str, str]


@dataclass(slots=True)  # not frozen: made for each request
class Draft:
    """A merge before it is said: the rows it came from, the wording that joins them, and itself.

    `notes` are said before it.
    """

    sources: list[Source]
    wording: int
    merged: Source
    notes: Mapping[str, Any] = field(default_factory=dict)


_DECODER = json.JSONDecoder()
# Text with thousands of braces within braces is read about so often before it is given up.
_EFFORT_PER_CHAR = 8
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "next")
_LAST = len(_ORDINALS) - 1

_INSTRUCTION_LINKS = (
    "Once that is done, take on a task that belongs with it.",
    "With that settled, carry on with a related request.",
    "In the same answer, also deal with what follows from a neighbouring question.",
)
_INPUT_LINKS = tuple(
    tuple(link.format(nth=nth) for nth in _ORDINALS)
    for link in (
        "This belongs to the {nth} task:",
        "Use this for the {nth} task:",
        "The {nth} task works on this:",
    )
)
_OUTPUT_LINKS = tuple(
    tuple(link.format(nth=nth) for nth in _ORDINALS)
    for link in (
        "Turning to the {nth} task:",
        "As for the {nth} task:",
        "That leads to the {nth} task:",
    )
)
_LINKS = tuple(product(_INSTRUCTION_LINKS, _INPUT_LINKS, _OUTPUT_LINKS))
WORDINGS = len(_LINKS)


def find_sources(prompt: str) -> list[Source]:
    """The rows written as JSON objects anywhere in `prompt`, in order.

    A row has the strings "instruction" and "output", and may have an "input". Objects around
    rows are looked into; a placeholder without a letter or digit is no row. The time taken is in
    proportion to the length, so that rows behind thousands of braces in one another are not found.
    """
    found = []
    effort = _EFFORT_PER_CHAR * len(prompt)
    start = prompt.find("{")
    while start >= 0 and effort > 0:
        value, stop = _decode(prompt, start)
        effort -= stop - start
        if value is None:
            effort -= start // 100  # a failure also looks through all lines before it
        is_row = isinstance(value, dict) and "instruction" in value
        if is_row and (source := _as_source(value)):
            found.append(source)
        start = prompt.find("{", stop if is_row else start + 1)
    return found


def weave(sources: Sequence[Source], wording: int) -> Source:
    """One row that holds every word of `sources`, joined by linking sentences.

    `wording` picks one of the WORDINGS, from 0.
    """
    instruction_link, input_links, output_links = _LINKS[wording]
    instructions, inputs, outputs = [], [], []
    for position, source in enumerate(sources):
        nth = position if position < _LAST else _LAST
        instruction = source["instruction"].strip()
        ends = instruction.endswith((".", "?", "!", ":"))
        instructions.append(instruction if ends else f"{instruction}.")
        if given := source["input"]:
            inputs.append(f"{input_links[nth]} {given}")
        output = source["output"]
        outputs.append(f"{output_links[nth]}\n{output}" if position else output)
    return {
        "instruction": f" {instruction_link} ".join(instructions),
        "input": "\n\n".join(inputs),
        "output": "\n\n".join(outputs),
    }


def _decode(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, None where it is none, and how far it was read."""
    if text[start - 1] == "\n" and (end := text.find("\n", start)) > 0:
        try:
            return orjson.loads(text[start:end]), end  # a row alone on its line, as most are
        except ValueError:
            pass
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return None, error.pos
    except (ValueError, RecursionError):  # a number too long, or too many levels
        return None, len(text)


def _as_source(value: dict[str, Any]) -> Source | None:
    instruction, given, output = value["instruction"], value.get("input"), value.get("output")
    if not (isinstance(instruction, str) and isinstance(output, str)):
        return None
    if not (instruction[:1].isalnum() or any(map(str.isalnum, instruction))):
        return None
    given = given if isinstance(given, str) else ""
    return {"instruction": instruction, "input": given, "output": output}
