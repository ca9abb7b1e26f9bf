"""Whether an answer stands in the question: units that only outputs have, in what is asked."""

from __future__ import annotations

from typing import NamedTuple

from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.survival import LEAST_WEIGHT
from mergeit_async.merging.units import Units, is_number
from mergeit_async.merging.weights import WordWeights

# The share of an answer that a question may use by chance, and that gives it away.
CHANCE, GIVEN_AWAY = 0.2, 0.45
# A number that only an answer has is no chance.
NUMBER_GIVEN = 0.7


class Leak(NamedTuple):
    """How surely an answer is given away, 0 to 1, and the words that do it, heaviest first."""

    strength: float
    words: tuple[str, ...]


NO_LEAK = Leak(0.0, ())


def measure_leak(source: Units, new: set[str], asked: Vocabulary, weights: WordWeights) -> Leak:
    """How much of the answer of `source` the merged row's question gives away.

    `new` are the words of what the merged row asks that no source asks; `asked` is what the
    sources ask.
    """
    given = new & source.output.vocabulary
    leaked = [word for word in given if _is_telling(word, asked, weights)]
    if not leaked:
        return NO_LEAK
    leaked.sort(key=lambda word: (-weights.weigh(word), word))
    content = [w for w in source.output.vocabulary if weights.weigh(w) >= LEAST_WEIGHT]
    share = weights.weigh_all(leaked) / weights.weigh_all(content)
    strength = min(1.0, max(0.0, (share - CHANCE) / (GIVEN_AWAY - CHANCE)))
    if any(is_number(word) for word in leaked):
        strength = max(strength, NUMBER_GIVEN)
    return Leak(strength, tuple(leaked))


def _is_telling(word: str, asked: Vocabulary, weights: WordWeights) -> bool:
    return weights.weigh(word) >= LEAST_WEIGHT and not asked.has_form_of(word)
