"""Numbers and names that changed: one of a source is gone and a strange one stands in its place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from mergeit_async.merging.context import LEAST_SAME, count_same
from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.matching import Encoder
from mergeit_async.merging.strangers import Area, find_names, kind_of
from mergeit_async.merging.units import Field, is_number, number_readings
from mergeit_async.merging.weights import WordWeights

# How sure a change is: the strange unit stands between the same two neighbours; beside one of
# them; or only somewhere in the same field.
BETWEEN, BETWEEN_FUNCTION_WORDS = 1.0, 0.75
BESIDE, BESIDE_FUNCTION_WORD, SOMEWHERE = 0.9, 0.6, 0.35
# Somewhere, where no more names are new than are lost; numbers come and go as labels of items.
INSTEAD = 0.62
# A question works nothing out: a new number in it is no result.
NUMBER_ASKED = 0.65
# An identifier in the same place is another one; an ordinary word may be a rewording.
REPLACED, REWORDED = 0.85, 0.5
# The cosine of two words, above which one may be a rewording of the other.
KIN = 0.2
LEAST_LETTERS = 3
# So many signs of a program, and words are identifiers, of which no rewording is expected.
_CODE = re.compile(r"[{}=;<>\\|]|\w\(|/\w|_\w|\s--?\w")
SIGNS_OF_CODE = 3
# For one lost unit so many new ones are plausible; a merge that adds much has strangers beside
# anything.
CROWD = 2.0
CONTENT_WEIGHT = 0.3
# A number that is nowhere any more needs no more than its two neighbours to be known by.
LEAST_SAME_OF_GONE = 2
# Bounds on the work that hostile texts make.
MOST_LOST, MOST_WORDS, MOST_THINNED, MOST_PLACES = 1_000, 2_000, 20, 10
# So many places are compared for one number; few share a neighbour with it in a true text.
MOST_CANDIDATES = 200
EDGE = ""
# What makes an identifier of any words.
JOINT = "_"


class Change(NamedTuple):
    """A unit of a source and what stands in its place, how sure that is, and of which kind."""

    old: str
    new: str
    strength: float
    kind: str


def find_changes(
    fields: Sequence[Field], area: Area, weights: WordWeights, encoder: Encoder
) -> list[Change]:
    """The units of `fields`, of one source, in whose place a stranger stands in `area`."""
    if not area.strangers:
        return []
    contexts = _Contexts(fields, area)
    return [
        change
        for field, places in area.strangers
        for at, kind in places
        if (change := contexts.explain(field.words, at, kind, weights, encoder))
    ]


def find_moved(fields: Sequence[Field], area: Area) -> list[Change]:
    """Numbers and names of `fields` in whose place `area` has another that the sources know too.

    The place is that among the same words; no source may have the other one there.
    """
    changes = []
    for field in fields:
        for lost in _find_thinned(field, area):
            if found := {new for each in area.merged for new in _find_in_place(field, each, lost)}:
                known = {new for each in area.sources for new in _find_in_place(field, each, lost)}
                new = sorted(word for word in found - known if lost.is_replaced_by(word, area))
                changes += [Change(lost.word, word, BETWEEN, lost.kind) for word in new]
    return changes


def is_code(text: str) -> bool:
    """Whether `text` holds so many signs of a program that its words are identifiers."""
    return len(_CODE.findall(text)) >= SIGNS_OF_CODE


class _Thinned(NamedTuple):
    """A number or a name that stands less often than before, or nowhere any more."""

    word: str
    kind: str
    is_gone: bool

    @property
    def least_same(self) -> int:
        """How many words have to be the same around what stands in its place."""
        return LEAST_SAME_OF_GONE if self.is_gone else LEAST_SAME

    def may_become(self, new: str) -> bool:
        """Whether `new` is of the same kind and another one."""
        if self.kind == "number" and is_number(new):
            return set(number_readings(new)).isdisjoint(number_readings(self.word))
        return self.kind == "name" and not is_number(new) and new != self.word

    def is_replaced_by(self, new: str, area: Area) -> bool:
        """Whether `new` may stand for it, which for most is only where it has become more."""
        return (self.kind == "number" and not self.is_gone) or area.exceeds(new)


def _find_thinned(field: Field, area: Area) -> list[_Thinned]:
    names = find_names(field.text)
    words = sorted(word for word in field.vocabulary if is_number(word) or word in names)
    return [
        _Thinned(word, kind, kind == "number" and not area.has(word) and area.is_gone(word))
        for word in words[:MOST_THINNED]
        if (kind := kind_of(word, names)) and area.lacks(word)
    ]


def _find_in_place(field: Field, other: Field, lost: _Thinned) -> Iterator[str]:
    """What `other` has among the words around the lost one: of its kind, and no form of it."""
    words, others = field.words[:MOST_WORDS], other.words[:MOST_WORDS]
    places = [at for at, word in enumerate(words) if word == lost.word][:MOST_PLACES]
    names = find_names(other.text) if places and lost.kind == "name" else set()
    candidates = _find_candidates(words, places, others, names)
    for place in islice(candidates, MOST_CANDIDATES):
        if lost.may_become(others[place]) and any(
            count_same(field.words, at, other.words, place, lost.least_same) for at in places
        ):
            yield others[place]


def _find_candidates(
    words: Sequence[str], places: Sequence[int], others: Sequence[str], names: set[str]
) -> Iterator[int]:
    """Where `others` have one of the `names`, or a number, behind a word that a place is behind."""
    before = {_neighbours(words, at)[0] for at in places}
    for place, word in enumerate(others) if places else ():
        if (word in names if names else is_number(word)) and (
            EDGE in before or _neighbours(others, place)[0] in before
        ):
            yield place


class _Contexts:
    """The units of a source by their neighbours, and those that are lost."""

    def __init__(self, fields: Sequence[Field], area: Area) -> None:
        self._area = area
        self._is_code = is_code("\n".join(field.text for field in fields))
        self._between: dict[tuple[str, str], str] = {}
        self._beside: dict[tuple[int, str], list[str]] = {}
        new = set().union(*(field.vocabulary for field in fields)) - area.vocabulary.words
        known = area.vocabulary.has_form_of
        lost = {word for word in sorted(new)[:MOST_LOST] if not known(word)}
        self._names = set().union(*(find_names(field.text) for field in fields))
        self._lost = {word: kind_of(word, self._names) for word in sorted(lost)}
        self._n_lost = Counter(self._lost.values())
        strange = {
            (each.field.words[at], kind) for each in area.strangers for at, kind in each.places
        }
        self._n_new = Counter(kind for _, kind in strange)
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
        if old and (previous or following) and self._fits(old, new, kind):
            if not self._area.lacks(old) or _stands_between(words, previous, old, following):
                return None
            content = max(map(weights.weigh, (previous, following))) >= CONTENT_WEIGHT
            return self._replace(old, new, kind, content, encoder)
        return None if kind == "word" else self._find_lost(words, at, kind, weights)

    def _find_lost(
        self, words: Sequence[str], at: int, kind: str, weights: WordWeights
    ) -> Change | None:
        """The lost unit of the same kind that stood beside the same word, or else any."""
        new = words[at]
        n_lost, n_new = self._n_lost[kind], self._n_new[kind]
        for side, neighbour in zip((-1, 1), _neighbours(words, at), strict=True):
            for old in self._beside.get((side, neighbour), ()) if neighbour else ():
                if self._lost[old] == kind and not _is_short_for(old, new):
                    content = weights.weigh(neighbour) >= CONTENT_WEIGHT
                    strength = BESIDE if content else BESIDE_FUNCTION_WORD
                    return Change(old, new, strength, kind)
        candidates = [o for o, its in self._lost.items() if its == kind]
        for old in candidates:
            if kind == "number" and _is_transposed(old, new):
                return Change(old, new, BESIDE, kind)
        any_lost = next((o for o in candidates if not _is_short_for(o, new)), None)
        if any_lost is None:
            return None
        is_instead = n_lost >= n_new and (kind == "name" or self._area.is_gone(any_lost))
        plausible = min(1.0, CROWD * n_lost / n_new)
        least = NUMBER_ASKED if kind == "number" and self._area.is_asked else SOMEWHERE
        return Change(any_lost, new, INSTEAD if is_instead else least * plausible, kind)

    def _fits(self, old: str, new: str, kind: str) -> bool:
        """Whether `new`, of `kind`, may be what became of `old`; a name only of a name."""
        if kind == "name":
            return old in self._names or JOINT in new
        return is_number(old) == (kind == "number")

    def _replace(
        self, old: str, new: str, kind: str, content: bool, encoder: Encoder
    ) -> Change | None:
        """That `new` stands where `old` did, beside a word of `content` or none."""
        if kind == "number" or old in self._names or JOINT in new:
            kind = "number" if kind == "number" else "name"
            return Change(old, new, BETWEEN if content else BETWEEN_FUNCTION_WORDS, kind)
        telling = min(len(old), len(new)) >= LEAST_LETTERS and old not in FUNCTION_WORDS
        if not telling or not content or encoder.kinships([old], [new])[0] >= KIN:
            return None
        return Change(old, new, REPLACED if self._is_code else REWORDED, "word")


def _neighbours(words: Sequence[str], at: int) -> tuple[str, str]:
    previous = words[at - 1] if at else EDGE
    following = words[at + 1] if at + 1 < len(words) else EDGE
    # The article follows the word that is changed.
    return "a" if previous == "an" else previous, following


def _is_transposed(one: str, other: str) -> bool:
    """Whether two numbers have the same digits in another order: 46 and 64."""
    return one != other and sorted(one) == sorted(other) and len(one) > 1


def _is_short_for(one: str, other: str) -> bool:
    return len(one) < 3 and other.startswith(one[0]) and not is_number(one)


def _stands_between(words: Sequence[str], previous: str, word: str, following: str) -> bool:
    """Whether `word` still stands between the two neighbours somewhere."""
    return word in words and any(
        each == word and _neighbours(words, at) == (previous, following)
        for at, each in enumerate(words)
    )
