"""Whether a unit of a source stands in the merged row: as it is, in another form, or as a kin word.

Exact matches are set operations; only what they leave over is looked at word by word, and only
what has no other form is compared by the embedded model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Protocol

from mergeit_async.merging.function_words import NUMERALS, spell_out
from mergeit_async.merging.ramp import ramp
from mergeit_async.merging.units import (
    in_24_hours,
    in_other_units,
    is_number,
    number_readings,
    tells_afternoon,
)

# Two words with such a common beginning, in letters and as a share of the longer, are forms of one.
SHORTEST_STEM = 4
STEM_SHARE = 0.6
# Arabic writes these before the word: and, the, to, in, and the.
_PREFIXES = ("وال", "بال", "لل", "ال", "و", "ب", "ل")
# A cosine of the model's word vectors that means nothing, and one that means the same.
STRANGE, SAME = 0.30, 0.65
# What is credited to words of a script that the model has no words of, for want of kin.
UNTOLD = 0.3
# Kin words are looked for among so many at most; the rarest are looked for first.
MOST_COMPARED = 64
# Bounds on the work that hostile texts make.
MOST_LOST = 1_000
MOST_OF_A_STEM = 32


class Encoder(Protocol):
    """The embedded model, which is always the same one whatever embeds the rows."""

    def similarities(self, merged: Set[str], sources: Sequence[Set[str]]) -> list[float]:
        """The cosine between the words of the merged row and those of each source."""

    def kinships(self, lost: Sequence[str], kept: Sequence[str]) -> list[float]:
        """For each of `lost` its highest cosine with any of `kept`."""

    def rank_languages(self, text: str) -> Mapping[str, float]:
        """The log-likelihood of each language `text` may be in, up to a constant."""


class Vocabulary:
    """The units of some fields, to be asked for words of other texts."""

    def __init__(self, words: set[str]) -> None:
        self.words = words
        self._stems: dict[str, list[str]] | None = None
        self._numbers: set[str] | None = None

    def has_form_of(self, word: str) -> bool:
        """Whether `word`, which is none of the words, is one of them in another form."""
        if is_number(word):
            return not self.numbers.isdisjoint(number_readings(word))
        if word in NUMERALS and not self.numbers.isdisjoint(NUMERALS[word]):
            return True
        # An identifier has no other forms.
        return "_" not in word and any(map(self._has_stem_of, _bare_forms(word)))

    @property
    def numbers(self) -> set[str]:
        """The values of all numbers, written in digits or in letters."""
        if self._numbers is None:
            self._numbers = set()
            for word in self.words:
                self._numbers.update(_read_number(word))
            self._numbers.update(spell_out(self.words))
            if tells_afternoon(self.words):
                self._numbers.update(*map(in_24_hours, self._numbers))
            self._numbers.update(in_other_units(self.words, self._numbers))
        return self._numbers

    def _has_stem_of(self, word: str) -> bool:
        if self._stems is None:
            self._stems = _index_stems(self.words)
        if word in self.words:
            return True
        return any(_share_stem(word, other) for other in self._stems.get(word[:SHORTEST_STEM], ()))


def _read_number(word: str) -> tuple[str, ...]:
    return number_readings(word) if is_number(word) else NUMERALS.get(word, ())


def _bare_forms(word: str) -> list[str]:
    if word.isascii():
        if (len(word) == 4 and word[-1] == "s") or len(word) == 3:
            return [word, word[:-1], word + "s"]
        return [word]
    return [word, *(word[len(prefix) :] for prefix in _PREFIXES if word.startswith(prefix))]


def _index_stems(words: Set[str]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = defaultdict(list)
    for word in words:
        has_one = len(word) > SHORTEST_STEM and word.isascii()
        for form in (word,) if has_one else _bare_forms(word):
            stem = form[:SHORTEST_STEM]
            if len(stem) == SHORTEST_STEM:
                stems[stem].append(form)
    for forms in stems.values():
        if len(forms) > MOST_OF_A_STEM:
            forms[:] = sorted(forms)[:MOST_OF_A_STEM]
    return stems


def _share_stem(one: str, other: str) -> bool:
    longest = max(len(one), len(other))
    needed = max(SHORTEST_STEM, int(STEM_SHARE * longest))
    return len(one) >= needed and one[:needed] == other[:needed]


def is_known_to_model(word: str) -> bool:
    """Whether the model has words of this script, not only its letters as the Indic ones."""
    return not (is_number(word) or "\u0900" <= word[0] < "\u1100")


def _is_untold(word: str) -> bool:
    return not (is_number(word) or is_known_to_model(word))


def find_credits(lost: Sequence[str], vocabulary: Vocabulary, encoder: Encoder) -> dict[str, float]:
    """How far each of `lost`, none of them a word of `vocabulary`, still stands in it, 0 to 1.

    Words beyond the first MOST_LOST are taken to fare like those.
    """
    head = lost[:MOST_LOST]
    credits = {word: 1.0 if vocabulary.has_form_of(word) else 0.0 for word in head}
    credits |= {word: UNTOLD for word in head if not credits[word] and _is_untold(word)}
    strange = [word for word in head if not credits[word] and is_known_to_model(word)]
    strange = strange[:MOST_COMPARED]
    if strange:
        kept = sorted(word for word in vocabulary.words if not is_number(word))
        for word, cosine in zip(strange, encoder.kinships(strange, kept), strict=True):
            credits[word] = ramp(cosine, STRANGE, SAME)
    usual = sum(credits.values()) / len(credits) if credits else 0.0
    return credits | dict.fromkeys(lost[MOST_LOST:], usual)
