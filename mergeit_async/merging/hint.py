"""Remarks that a question has beside its sources' words, and that may give an answer away.

A hint need not use the words of the answer (who is also called garbanzo?). It is told by its place:
between brackets, or among the material that else is kept word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set

from mergeit_async.merging.function_words import FUNCTION_WORDS, NUMERALS
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.units import Field, is_number, read_words

_REMARK = re.compile(r"[(（]([^()（）]{3,120})[)）]")
# What a part of the material is called, which is no remark on it.
_NAME_OF_PART = re.compile(r"[^.:;\n()]{0,40}:")
_NAMED_PART = re.compile(r"^\w ?\([^()\n]{0,120}\)(?=:)", re.MULTILINE)
LEAST_LETTERS = 3
# So many words that are no source's, in the material, are more than what connects its parts.
ADDED_WORDS = 4
MOST_CHARACTERS = 20_000


def count_brackets(fields: Iterable[Field]) -> int:
    """How many remarks there may be."""
    return sum([field.text.count("(") + field.text.count("（") for field in fields])


def find_remark(
    merged: Iterable[Field], sources: Sequence[Field], known: Vocabulary, answers: Set[str]
) -> str:
    """The first remark in brackets that no source makes, and that says what none of them asks.

    A single word is one only where it stands in an answer: poodle (dog).
    """
    for field in merged:
        for remark in _REMARK.findall(_NAMED_PART.sub("", field.text[:MOST_CHARACTERS])):
            if any(f"({remark})" in each.text for each in sources):
                continue
            words = read_words(remark)
            is_word = len(words) == 1 and _is_content(words[0])
            if (is_word and words[0] in answers) or (len(words) > 1 and _find_new(remark, known)):
                return str(remark)
    return ""


def tells_answer(remark: str, known: Vocabulary, answers: Set[str]) -> bool:
    """Whether what `remark` adds to the `known` questions are words of the `answers`."""
    words = _find_new(remark, known) or read_words(remark)
    return set(words) <= answers


def find_added(given: Field, known: Vocabulary) -> list[str]:
    """The words that were added to the material `given`, if there are more than a few."""
    text = _NAME_OF_PART.sub(" ", given.text[:MOST_CHARACTERS])
    added = _find_new(text, known)
    return added if len(added) >= ADDED_WORDS else []


def count_content(words: Iterable[str]) -> int:
    """How many different ones of `words` are no function words, numbers or labels."""
    return sum(map(_is_content, set(words)))


def _find_new(text: str, known: Vocabulary) -> list[str]:
    """The content words of `text`, each once, that `known` has in no form."""
    words = dict.fromkeys(read_words(text))
    return [word for word in words if _is_content(word) and not _is_known(word, known)]


def _is_content(word: str) -> bool:
    is_word = len(word) >= LEAST_LETTERS and not is_number(word)
    return is_word and word not in FUNCTION_WORDS and word not in NUMERALS


def _is_known(word: str, known: Vocabulary) -> bool:
    return word in known.words or known.has_form_of(word)
