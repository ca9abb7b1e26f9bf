"""A word that was replaced in a text that is otherwise kept word for word.

Who rewords, rewords more than one word: a single other one between the same neighbours is another
thing (liver, spleen), whether the model finds the two kin or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mergeit_async.merging.changes import Change
from mergeit_async.merging.context import LEAST_SAME, count_same
from mergeit_async.merging.function_words import CARDINALS, FUNCTION_WORDS, NUMERALS
from mergeit_async.merging.matching import Encoder
from mergeit_async.merging.ramp import ramp
from mergeit_async.merging.strangers import Area
from mergeit_async.merging.units import Field, is_number
from mergeit_async.merging.weights import WordWeights

# The weight of a word, and its length, from which on it is about something.
CONTENT_WEIGHT, LEAST_LETTERS = 0.5, 3
# How sure that is with the fewest equal neighbours, and with more.
BARELY, SURELY = 0.85, 1.0
# Two words of one meaning, by the model: from which cosine on, and where there is no doubt left.
KIN, SAME = 0.6, 0.8
# The share of a text's words that are kept, from which on it counts as kept word for word.
REWORDED, VERBATIM = 0.82, 0.9
# Bounds on the work that hostile texts make.
MOST_LOST, MOST_PAIRS = 200, 2_000


def find_replaced(field: Field, area: Area, weights: WordWeights, encoder: Encoder) -> list[Change]:
    """The content words of `field`, of one source, in whose place a stranger stands in `area`."""
    lost = _find_lost(field, area, weights)
    pairs = list(_pair(field.words, lost, area)) if lost else []
    if not pairs:
        return []
    kept = sum(word in area.vocabulary.words for word in field.words)
    kept += len({old for old, _, _ in pairs} - area.vocabulary.words)
    verbatim = ramp(kept / len(field.words), REWORDED, VERBATIM)
    return [
        Change(old, new, strength, "word")
        for old, new, same in pairs
        if (strength := verbatim * _judge(old, new, same, encoder)) > 0.0
    ]


def find_renumbered(field: Field, area: Area) -> list[Change]:
    """The spelled numbers of `field` in whose place `area` has another spelled one.

    The place is that between two words, but for their plural; no source may have it there.
    """
    theirs = _places_of_numerals(area.merged)
    ours = {place: old for place, old in _places_of_numerals([field]).items() if place in theirs}
    allowed = _places_of_numerals(area.sources)
    return [
        Change(min(old), min(new), SURELY, "number")
        for place, old in sorted(ours.items())
        if not _values(old) & _values(theirs[place])
        and any(map(area.lacks, old))
        and (new := theirs[place] - allowed.get(place, set()))
    ]


def _find_lost(field: Field, area: Area, weights: WordWeights) -> list[int]:
    places = [at for at, word in enumerate(field.words) if _is_content(word, weights)]
    lacking = {word for word in {field.words[at] for at in places} if area.lacks(word)}
    return [at for at in places if field.words[at] in lacking][:MOST_LOST]


def _is_content(word: str, weights: WordWeights) -> bool:
    return (
        len(word) >= LEAST_LETTERS
        and weights.weigh(word) >= CONTENT_WEIGHT
        and word not in FUNCTION_WORDS
        and not is_number(word)
    )


def _pair(words: Sequence[str], lost: Sequence[int], area: Area) -> Iterator[tuple[str, str, int]]:
    """Lost words and strangers between equal words, and how many of these there are."""
    by_neighbour: dict[tuple[int, str], list[int]] = defaultdict(list)
    for at in lost:
        by_neighbour[-1, words[at - 1] if at else ""].append(at)
        by_neighbour[1, words[at + 1] if at + 1 < len(words) else ""].append(at)
    n_pairs = 0
    for strangers in area.strangers:
        merged = strangers.field.words
        for place, kind in strangers.places:
            new = merged[place]
            if kind != "word" or len(new) < LEAST_LETTERS or new in FUNCTION_WORDS:
                continue
            before = merged[place - 1] if place else ""
            after = merged[place + 1] if place + 1 < len(merged) else ""
            for at in {*by_neighbour[-1, before], *by_neighbour[1, after]}:
                n_pairs += 1
                if words[at].startswith(new):  # as it is abbreviated: ext.
                    continue
                if n_pairs <= MOST_PAIRS and (same := count_same(words, at, merged, place)):
                    yield words[at], new, same


def _judge(old: str, new: str, same: int, encoder: Encoder) -> float:
    kinship = encoder.kinships([old], [new])[0]
    return (BARELY if same == LEAST_SAME else SURELY) * (1.0 - ramp(kinship, KIN, SAME))


def _places_of_numerals(fields: Sequence[Field]) -> dict[tuple[str, str], set[str]]:
    places: dict[tuple[str, str], set[str]] = {}
    for field in fields:
        if CARDINALS.isdisjoint(field.vocabulary):
            continue
        for at in range(1, len(field.words) - 1):
            if field.words[at] in CARDINALS:
                place = (_singular(field.words[at - 1]), _singular(field.words[at + 1]))
                places.setdefault(place, set()).add(field.words[at])
    return places


def _singular(word: str) -> str:
    return word.removesuffix("s")


def _values(words: set[str]) -> set[str]:
    return {value for word in words for value in NUMERALS[word]}
