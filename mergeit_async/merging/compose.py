"""The keyless merge `offline/compose`: several rows become one multi-part row, word for word.

After Mosaic-IT (arXiv 2405.13326): examples are concatenated under a meta-instruction, without
any model, and the meta-instruction varies. Here the parts carry labels, the material of each part
stands under its label in the input, and the answers follow under the same labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mergeit_async.ids import group_id
from mergeit_async.records import Example, Row

COMPOSE_VERSION = "compose/1"

_NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# The first word that no source uses as a label of its own is taken.
_LABELS = ("Part", "Question", "Assignment")

_LEADS = (
    "Complete the {n} parts below in order and give each answer under its label.",
    "This request has {n} parts. Work through them one after the other and label each answer.",
    "Below are {n} separate requests. Answer them in the order given, each under its label.",
    "Please do the following {n} things. Keep their order and mark each answer with its label.",
    "Work on the {n} parts that follow: answer each of them fully, and keep their labels.",
    "Here is an assignment in {n} parts; respond to each in turn, under the same labels.",
)
_ALL_HAVE_INPUT = (
    "The input holds the material for each part under the same label.",
    "What each part refers to is given in the input, with matching labels.",
)
_SOME_HAVE_INPUT = (
    "Where a part needs material, the input gives it under the same label.",
    "Any material that a part refers to is in the input, with a matching label.",
)


def compose(sources: Sequence[Row]) -> Example:
    """One row that asks for everything in `sources` (two or more rows), in their order.

    Each field of each source is a substring of the same field of the result. The wording of the
    meta-instruction depends on the ids of the rows alone.
    """
    label = _choose_label(sources)
    parts = [f"{label} {number}:" for number in range(1, len(sources) + 1)]
    instructions = [f"{part} {row.instruction}" for part, row in zip(parts, sources, strict=True)]
    return Example(
        instruction=_join([_meta_instruction(sources), *instructions]),
        input=_join(_under(parts, [row.input for row in sources])),
        output=_join(_under(parts, [row.output for row in sources])),
    )


def _choose_label(sources: Sequence[Row]) -> str:
    text = "\n".join(f"{row.instruction}\n{row.input}\n{row.output}" for row in sources).casefold()
    free = (label for label in _LABELS if f"{label.casefold()} 1" not in text)
    return next(free, _LABELS[0])


def _meta_instruction(sources: Sequence[Row]) -> str:
    choice = int(group_id(row.id for row in sources), 16)
    lead = _LEADS[choice % len(_LEADS)].format(n=_spell(len(sources)))
    n_inputs = sum(bool(row.input) for row in sources)
    if not n_inputs:
        return lead
    notes = _ALL_HAVE_INPUT if n_inputs == len(sources) else _SOME_HAVE_INPUT
    return f"{lead} {notes[choice // len(_LEADS) % len(notes)]}"


def _spell(number: int) -> str:
    return _NUMERALS[number] if number < len(_NUMERALS) else str(number)


def _under(parts: Sequence[str], texts: Sequence[str]) -> Iterable[str]:
    return (f"{part}\n{text}" for part, text in zip(parts, texts, strict=True) if text)


def _join(paragraphs: Iterable[str]) -> str:
    return "\n\n".join(paragraphs)
