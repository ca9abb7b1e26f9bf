"""Numbers and names that changed: one of a source is gone and a strange one stands in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.matching import Encoder, Vocabulary
from mergeit_async.merging.units import (
    Field,
    Units,
    in_24_hours,
    is_number,
    number_readings,
    tells_afternoon,
)
from mergeit_async.merging.weights import WordWeights

# How sure a change is: the strange unit stands between the same two neighbours; beside one of
# them; or only somewhere in the same field.
BETWEEN, BESIDE, BESIDE_FUNCTION_WORD, SOMEWHERE = 1.0, 0.9, 0.6, 0.35
# Ordinary words are reworded all the time, also in the same place.
REWORDED, REPLACED = 0.2, 0.85
# The cosine of two words, above which one may be a rewording of the other.
KIN = 0.2
LEAST_LETTERS = 3
CONTENT_WEIGHT = 0.3
# Labels of parts: 1. or (1) or 2) at the beginning of a line or in brackets.
LARGEST_LABEL = 20
# Bounds on the work that hostile texts make.
MOST_NEW, MOST_STRANGERS, MOST_WORDS = 1_000, 100, 20_000
EDGE = ""
# A capital inside a sentence: not after its end, a line's beginning, an opening quote or bracket.
# After an initial, a comma or the beginning of a value, a capital is one of a name as well.
_NAME = re.compile(r"(?:(?<=[\w,&/–-] )|(?<=\b[A-Z]\. ))[\"“«(]?([^\W\d_a-zß-öø-ÿа-я]\w+)")


class Change(NamedTuple):
    """A unit of a source and what stands in its place, how sure that is, and of which kind."""

    old: str
    new: str
    strength: float
    kind: str


class Strangers(NamedTuple):
    """Units of a merged field that no source has, with their kinds, by place."""

    field: Field
    places: tuple[tuple[int, str], ...]


def find_strangers(fields: Iterable[Field], known: Vocabulary) -> list[Strangers]:
    """The units of `fields` that are no form of a `known` one."""
    return [found for field in fields if (found := _find_strange(field, known)).places]


def _find_strange(field: Field, known: Vocabulary) -> Strangers:
    new = sorted(field.vocabulary - known.words)[:MOST_NEW]
    strange = {word for word in new if not known.has_form_of(word)}
    if tells_afternoon(field.vocabulary):
        strange -= {word for word in strange if not known.numbers.isdisjoint(in_24_hours(word))}
    if not strange:
        return Strangers(field, ())
    names = find_names(field.text)
    places = [(at, _kind_of(w, names)) for at, w in enumerate(field.words) if w in strange]
    return Strangers(field, tuple(places[:MOST_STRANGERS]))


def find_names(text: str) -> set[str]:
    """The words, without case, that are written with a capital inside a sentence."""
    names = {name.casefold() for name in _NAME.findall(text)}
    return names - FUNCTION_WORDS


def _kind_of(word: str, names: set[str]) -> str:
    if is_number(word):
        return "number"
    return "name" if word in names else "word"


def find_changes(
    strangers: Sequence[Strangers],
    source_fields: Sequence[Field],
    area: Vocabulary,
    weights: WordWeights,
    encoder: Encoder,
) -> list[Change]:
    """The units of `source_fields` in whose place one of `strangers` stands in `area`."""
    if not strangers:
        return []
    contexts = _Contexts(source_fields, area)
    return [
        change
        for field, places in strangers
        for at, kind in places
        if (change := contexts.explain(field.words, at, kind, weights, encoder))
    ]


def find_moved(
    fields: Sequence[Field], merged: Sequence[Field], sources: Sequence[Units]
) -> list[Change]:
    """Numbers of `fields` in whose place `merged` has another one that the sources know too.

    The place is that between two words; no source may have the other number there.
    """
    theirs = _places_of_numbers(merged)
    ours = {place: old for place, old in _places_of_numbers(fields).items() if place in theirs}
    if all(old & theirs[place] for place, old in ours.items()):
        return []
    allowed = _places_of_numbers(field for row in sources for field in row)
    return [
        Change(min(old), min(new), BETWEEN, "number")
        for place, old in sorted(ours.items())
        if not old & theirs[place] and (new := theirs[place] - allowed[place])
    ]


def _places_of_numbers(fields: Iterable[Field]) -> dict[tuple[str, str], set[str]]:
    """The numbers that stand between the same two words, by these words."""
    places: dict[tuple[str, str], set[str]] = {}
    for field in fields:
        for at, word in enumerate(field.words[:MOST_WORDS]):
            if is_number(word):
                previous, following = _neighbours(field.words, at)
                if previous and following:
                    places.setdefault((previous, following), set()).update(number_readings(word))
    return places


class _Contexts:
    """The units of a source by their neighbours, and those that are lost."""

    def __init__(self, fields: Sequence[Field], area: Vocabulary) -> None:
        self._between: dict[tuple[str, str], str] = {}
        self._beside: dict[tuple[int, str], list[str]] = {}
        new = set().union(*(field.vocabulary for field in fields)) - area.words
        lost = {word for word in sorted(new)[:MOST_NEW] if not area.has_form_of(word)}
        self._names = set().union(*(find_names(field.text) for field in fields))
        self._lost = {word: _kind_of(word, self._names) for word in sorted(lost)}
        for field in fields:
            self._read(field.words)

    def _read(self, words: Sequence[str]) -> None:
        for at, word in enumerate(words):
            previous, following = _neighbours(words, at)
            self._between.setdefault((previous, following), word)
            if self._lost.get(word, "word") != "word":
                self._beside.setdefault((-1, previous), []).append(word)
                self._beside.setdefault((1, following), []).append(word)

    def explain(
        self, words: Sequence[str], at: int, kind: str, weights: WordWeights, encoder: Encoder
    ) -> Change | None:
        """What the stranger `words[at]` stands in place of, with the strongest evidence."""
        new = words[at]
        previous, following = _neighbours(words, at)
        old = self._between.get((previous, following))
        if old and (previous or following) and is_number(old) == is_number(new):
            if _stands_between(words, previous, old, following):
                return None
            return self._replace(old, new, kind, encoder)
        if kind == "word":
            return None
        for side, neighbour in ((-1, previous), (1, following)):
            for old in self._beside.get((side, neighbour), ()) if neighbour else ():
                if self._lost[old] == kind and not _is_short_for(old, new):
                    content = weights.weigh(neighbour) >= CONTENT_WEIGHT
                    return Change(old, new, BESIDE if content else BESIDE_FUNCTION_WORD, kind)
        same = (o for o, its in self._lost.items() if its == kind and not _is_short_for(o, new))
        old = next(same, None)
        return Change(old, new, SOMEWHERE, kind) if old else None

    def _replace(self, old: str, new: str, kind: str, encoder: Encoder) -> Change | None:
        if kind == "word" and old in self._names:
            kind = "name"
        if kind != "word":
            return Change(old, new, BETWEEN, kind)
        telling = min(len(old), len(new)) >= LEAST_LETTERS and old not in FUNCTION_WORDS
        strange = telling and encoder.kinships([old], [new])[0] < KIN
        return Change(old, new, REPLACED if strange else REWORDED, kind)


def _neighbours(words: Sequence[str], at: int) -> tuple[str, str]:
    previous = words[at - 1] if at else EDGE
    following = words[at + 1] if at + 1 < len(words) else EDGE
    # The article follows the word that is changed.
    return "a" if previous == "an" else previous, following


def _is_short_for(one: str, other: str) -> bool:
    return len(one) < 3 and other.startswith(one[0])


def _stands_between(words: Sequence[str], previous: str, word: str, following: str) -> bool:
    """Whether `word` still stands between the two neighbours somewhere."""
    return word in words and any(
        each == word and _neighbours(words, at) == (previous, following)
        for at, each in enumerate(words)
    )
