"""What is new in a merged row: units that no source has in any form, by kind and place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mergeit_async.merging.acronym import find_renamed
from mergeit_async.merging.function_words import FUNCTION_WORDS, GERMAN
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.units import Field, in_24_hours, is_number, tells_afternoon

# Bounds on the work that hostile texts make.
MOST_NEW, MOST_STRANGERS = 1_000, 100
# A capital inside a sentence: not after its end, a line's beginning, an opening quote or bracket.
# After an initial, a comma or the beginning of a value, a capital is one of a name as well.
_NAME = re.compile(r"(?:(?<=[\w,&/–-] )|(?<=\b[A-Z]\. ))[\"“«(]?([^\W\d_a-zß-öø-ÿа-я]\w+)")
# At the beginning of a sentence it takes a second capital to tell.
_FIRST_NAME = re.compile(r"(?:\A|[.!?:]\s|\n)([A-ZÀ-ÖØ-Þ][\w-]+)(?= [A-ZÀ-ÖØ-Þ]\w)")
# So many names in a text with so many German function words may be nouns.
MANY, SIGNS_OF_GERMAN = 3, 2
# Who rewrites a letter may greet in other words.
_GREETINGS = frozenset(
    ("dear", "hello", "hi", "hey", "greetings", "best", "kind", "warm", "yours", "sincerely")
)
_IDENTIFIER = re.compile(r"\b[A-Za-z]{1,40}_[A-Za-z_]{1,40}\b")


class Strangers(NamedTuple):
    """Units of a merged field that no source has, with their kinds, by place."""

    field: Field
    places: tuple[tuple[int, str], ...]

    def without(self, words: set[str]) -> Strangers:
        places = (place for place in self.places if self.field.words[place[0]] not in words)
        return Strangers(self.field, tuple(places))


class Area(NamedTuple):
    """The questions or the answers: of the merged row, and of all its sources.

    `strangers` are those in the merged fields; `is_asked` tells the questions from the answers.
    `elsewhere` are the units of the other ones: what is lost here and stands there is not said
    again, no more.
    """

    merged: Sequence[Field]
    sources: Sequence[Field]
    vocabulary: Vocabulary
    strangers: Sequence[Strangers]
    is_asked: bool
    elsewhere: Vocabulary

    def has(self, word: str) -> bool:
        """Whether `word` stands in the merged fields in some form."""
        return word in self.vocabulary.words or self.vocabulary.has_form_of(word)

    def is_gone(self, word: str) -> bool:
        """Whether `word` stands in none of the other merged fields, in no form."""
        return word not in self.elsewhere.words and not self.elsewhere.has_form_of(word)

    def lacks(self, word: str) -> bool:
        """Whether `word` stands less often in the merged fields than in those of the sources."""
        return self._count_added(word) < 0

    def exceeds(self, word: str) -> bool:
        """Whether `word` stands more often in the merged fields than in those of the sources."""
        return self._count_added(word) > 0

    def _count_added(self, word: str) -> int:
        kept = sum(field.count(word) for field in self.merged)
        return kept - sum(field.count(word) for field in self.sources)


def find_strangers(
    fields: Sequence[Field], known: Vocabulary, sources: Sequence[Field] = ()
) -> list[Strangers]:
    """The units of `fields` that are no form of a `known` one, nor a name of `sources` renamed."""
    found = [strange for field in fields if (strange := _find_strange(field, known)).places]
    if not found or not (renamed := find_renamed(fields, sources)):
        return found
    return [rest for each in found if (rest := each.without(renamed)).places]


def _find_strange(field: Field, known: Vocabulary) -> Strangers:
    new = sorted(field.vocabulary - known.words)[:MOST_NEW]
    strange = {word for word in new if not known.has_form_of(word)}
    if tells_afternoon(field.vocabulary):
        strange -= {word for word in strange if not known.numbers.isdisjoint(in_24_hours(word))}
    if not strange:
        return Strangers(field, ())
    names = find_names(field.text)
    places = [(at, kind_of(w, names)) for at, w in enumerate(field.words) if w in strange]
    return Strangers(field, tuple(places[:MOST_STRANGERS]))


def find_names(text: str) -> set[str]:
    """The words, without case, that are written with a capital inside a sentence."""
    names = {name.casefold() for name in (*_NAME.findall(text), *_FIRST_NAME.findall(text))}
    names.update(name.casefold() for name in _IDENTIFIER.findall(text))
    return set() if len(names) >= MANY and _is_german(text) else names - FUNCTION_WORDS - _GREETINGS


def _is_german(text: str) -> bool:
    """Whether a capital is the sign of any noun."""
    return len(GERMAN.intersection(text.casefold().split())) >= SIGNS_OF_GERMAN


def kind_of(word: str, names: set[str]) -> str:
    if is_number(word):
        return "number"
    return "name" if word in names else "word"
