"""Whether an answer stands in the question: units that only outputs have, in what is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mergeit_async.merging.function_words import FUNCTION_WORDS, NUMERALS
from mergeit_async.merging.matching import SHORTEST_STEM, Vocabulary
from mergeit_async.merging.ramp import ramp
from mergeit_async.merging.survival import LEAST_WEIGHT
from mergeit_async.merging.units import Field, is_number, read_words
from mergeit_async.merging.weights import WordWeights

# The share of an answer that a question may use by chance, and that gives it away.
CHANCE, GIVEN_AWAY = 0.2, 0.36
# The weight of words that anybody may use, and of those that only who knows the answer does.
USUAL, TELLING = 0.45, 0.75
# So many words in a row are no chance either.
RUN = 7
# Shorter answers are looked for as a whole; a word or two may be one of those to choose from.
LEAST_ANSWER = 3
MOST_TOLD = 1_000
# A number that only an answer has is no chance, if it is a fair share of it.
NUMBER_GIVEN, CHANCE_NUMBER = 0.7, 0.1
# The numbers of parts: 1. or (2) or 3), and those after a word as in part 1.
_LABEL = re.compile(
    r"""(?:^|\(|[;:,]\ )\s{0,8}\(?(\d{1,2})[.):]
    |\b(?:part|task|question|assignment|list|item|text|set)\ (\d{1,2})\b""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# What a source leaves to fill in, and what else may stand for it.
_BLANK = re.compile(r"_{2,}")
_ANY_BLANK = re.compile(r"_{2,}|\.{3,}|…|[\[(]\s*(?:\?|blank)?\s*[\])]|[-–—]{2,}")

_BRACKETS = re.compile(r"[(（]([^()（）]{1,120})[)）]")
MOST_CHARACTERS = 20_000


class Leak(NamedTuple):
    """How surely an answer is given away, 0 to 1, and the words that do it, heaviest first."""

    strength: float
    words: tuple[str, ...]


Run = tuple[str, ...]
NO_LEAK = Leak(0.0, ())


def find_labels(fields: Iterable[Field]) -> set[str]:
    """The numbers by which parts are called in these fields."""
    return {
        number
        for field in fields
        if any(map(is_number, field.vocabulary))
        for label in _LABEL.findall(field.text)
        for number in label
        if number
    }


def fills_blank(merged: Iterable[Field], sources: Iterable[Field]) -> bool:
    """Whether the sources have a blank to fill in and the merged row has none."""
    given = any(_BLANK.search(field.text) for field in sources)
    return given and not any(_ANY_BLANK.search(field.text) for field in merged)


def find_run(output: Field, merged: Iterable[Field], sources: Iterable[Field]) -> Run:
    """A run of words of `output` that stands in a `merged` field and in none of the `sources`."""
    runs = _runs(output)
    told = {run for field in merged for run in _runs(field) & runs}
    for field in sources if told else ():
        told -= _runs(field)
    return min(told, default=())


def holds_answer(output: Field, merged: Iterable[Field], sources: Iterable[Field]) -> bool:
    """Whether the whole of a short `output` stands in a `merged` field and in no source's."""
    length = len(output.words)
    if not LEAST_ANSWER <= length < RUN:
        return False
    answer = tuple(output.words)
    told = any(answer in _runs(field, length) for field in merged)
    return told and not any(answer in _runs(field, length) for field in sources)


def brackets_answer(output: Field, merged: Iterable[Field], sources: Iterable[Field]) -> bool:
    """Whether a `merged` field has the whole `output` between brackets, and no source has it so."""
    if not 0 < len(output.words) < RUN:
        return False
    told = any(output.words in _read_brackets(field) for field in merged)
    return told and not any(output.words in _read_brackets(field) for field in sources)


def _read_brackets(field: Field) -> list[list[str]]:
    return [read_words(remark) for remark in _BRACKETS.findall(field.text[:MOST_CHARACTERS])]


def repeats_label(output: Field, merged: Iterable[Field], sources: Iterable[Field]) -> bool:
    """Whether an `output` of one word, one of those to choose from, is said again in a question.

    `merged` and `sources` are the fields that ask and give.
    """
    word = output.words[0] if len(output.words) == 1 else ""
    if not word or word in FUNCTION_WORDS or is_number(word):
        return False
    return (
        0 < sum(field.count(word) for field in sources) < sum(field.count(word) for field in merged)
    )


def _runs(field: Field, length: int = RUN) -> set[Run]:
    words = field.words
    return set(zip(*(words[at:] for at in range(length)), strict=False))


def measure_leak(output: Field, new: set[str], asked: Vocabulary, weights: WordWeights) -> Leak:
    """How much of the answer `output` the merged row's question gives away.

    `new` are the words of what the merged row asks that no source asks; `asked` is what the
    sources ask.
    """
    told = sorted(_find_told(output, new))[:MOST_TOLD]
    leaked = [word for word in told if _is_telling(word, asked, weights)]
    if not leaked:
        return NO_LEAK
    leaked.sort(key=lambda word: (-weights.weigh(word), word))
    content = [word for word in output.vocabulary if weights.weigh(word) >= LEAST_WEIGHT]
    share = weights.weigh_all(leaked) / weights.weigh_all(content)
    strength = ramp(share, CHANCE, GIVEN_AWAY) * ramp(weights.weigh(leaked[0]), USUAL, TELLING)
    if share >= CHANCE_NUMBER and any(map(is_number, leaked)):
        strength = max(strength, NUMBER_GIVEN)
    return Leak(strength, tuple(leaked))


def _find_told(output: Field, new: set[str]) -> set[str]:
    """The words of `output` that are among `new`, also in another form."""
    told = new & output.vocabulary
    content = new - FUNCTION_WORDS
    stems = {word[:SHORTEST_STEM] for word in content}
    alike = [word for word in output.vocabulary if word[:SHORTEST_STEM] in stems]
    if alike:
        telling = Vocabulary({word for word in content if not is_number(word)})
        told.update(filter(telling.has_form_of, alike))
    return told


def _is_telling(word: str, asked: Vocabulary, weights: WordWeights) -> bool:
    if word in NUMERALS or word in asked.words or weights.weigh(word) < LEAST_WEIGHT:
        return False
    return not asked.has_form_of(word)
