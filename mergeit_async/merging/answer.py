"""Whether an output answers the instruction it stands under, as far as structure can tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from mergeit_async.records import Example, Refusal, Row

# Of what the sources have together, in characters: a merge that condenses keeps about half.
LEAST_MATERIAL, LEAST_OUTPUT, MOST_OUTPUT, MOST_INSTRUCTION = 0.2, 0.2, 5, 3
# Below this much, proportions say little.
FEW_CHARACTERS = 200
# A merge may add a link, a working, a comparison, however short its sources are.
ROOM = 2_000
# A sentence of a few-shot that is long enough to be nobody else's.
TELLING_CHARACTERS = 40
# Where an answer asks for what it should have been given.
OPENING_CHARACTERS = 300

_ASKS_BACK = re.compile(
    r"""\b(?:please|kindly|could\ you|can\ you|would\ you)\ (?:please\ )?
    (?:provide|share|send|paste|specify|supply|give\ me|tell\ me)\b
    |\b(?:i|we)\ (?:will\ |would\ )?need\ (?:more|further|the\ (?:actual|rest))\b
    |\bno\ (?:text|input|sentence|passage|data)\ (?:was|is|has\ been)\ (?:provided|given)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def find_mismatches(merged: Example, sources: Sequence[Row]) -> Iterator[Refusal]:
    """What shows that the fields of `merged` do not belong together, or are no size for it.

    Reasons: echo, asks_back, too_short, too_long. What some source does itself is no defect.
    """
    if _is_echo(merged) and not any(map(_is_echo, sources)):
        yield Refusal(
            "echo", "the output repeats the instruction or the input instead of an answer"
        )
    if _asks_back(merged.output) and not any(_asks_back(row.output) for row in sources):
        yield Refusal("asks_back", f"the output asks for material: {merged.output[:80]!r}")
    if sources:
        yield from _find_odd_lengths(merged, sources)


def telling_sentences(texts: Iterable[str]) -> tuple[str, ...]:
    """The sentences of few-shots by which a copy of them can be told."""
    sentences = (part.strip() for text in texts for part in _SENTENCE_END.split(text))
    return tuple(dict.fromkeys(part for part in sentences if len(part) >= TELLING_CHARACTERS))


def find_copied(merged: Example, sources: Sequence[Row], sentences: Sequence[str]) -> str | None:
    """The first of `sentences` that `merged` has and no source has."""
    text = "\n".join(merged)
    for sentence in sentences:
        if sentence in text and not any(_has(row, sentence) for row in sources):
            return sentence
    return None


def _has(row: Row, text: str) -> bool:
    return text in row.instruction or text in row.input or text in row.output


def _is_echo(row: Example | Row) -> bool:
    output = row.output.strip()
    return bool(output) and output in (row.instruction.strip(), row.input.strip())


def _asks_back(output: str) -> bool:
    return len(output) <= OPENING_CHARACTERS and _ASKS_BACK.search(output) is not None


def _find_odd_lengths(merged: Example, sources: Sequence[Row]) -> Iterator[Refusal]:
    given = sum(len(row.input) for row in sources)
    answered = sum(len(row.output) for row in sources)
    whole = given + answered + sum(len(row.instruction) for row in sources)
    material = len(merged.instruction) + len(merged.input)
    if given > FEW_CHARACTERS and material < LEAST_MATERIAL * given:
        yield _too_short("instruction and input", material, given)
    if answered > FEW_CHARACTERS and len(merged.output) < LEAST_OUTPUT * answered:
        yield _too_short("output", len(merged.output), answered)
    if len(merged.output) > MOST_OUTPUT * whole + ROOM:
        yield _too_long("output", len(merged.output), whole)
    if material > MOST_INSTRUCTION * whole + ROOM:
        yield _too_long("instruction and input", material, whole)


def _too_short(what: str, found: int, theirs: int) -> Refusal:
    return Refusal("too_short", f"{what} have {found} characters where the sources have {theirs}")


def _too_long(what: str, found: int, theirs: int) -> Refusal:
    return Refusal("too_long", f"{what} have {found} characters for sources of {theirs} in all")
