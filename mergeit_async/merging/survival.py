"""How much of each field of a source survives in the merged row, by weight of its words."""

from __future__ import annotations

from typing import NamedTuple

from mergeit_async.merging.matching import Encoder, Vocabulary, find_credits
from mergeit_async.merging.units import Field, Units
from mergeit_async.merging.weights import WordWeights

# Function words are left out of what a paraphrase may lose; below this weight a word is one.
LEAST_WEIGHT = 0.15


class Survival(NamedTuple):
    """The share of a field's weight that survives, 0 to 1, its whole weight, and what is lost.

    `lost` holds the words without any credit, heaviest first.
    """

    share: float
    weight: float
    lost: tuple[str, ...]


def measure_survival(
    field: Field, vocabulary: Vocabulary, weights: WordWeights, encoder: Encoder
) -> Survival:
    """Survival of the distinct words of `field` among `vocabulary`."""
    weight = weights.weigh_all(field.vocabulary)
    missing = field.vocabulary - vocabulary.words
    if not missing:
        return Survival(1.0, weight, ())
    heavy = {word: weights.weigh(word) for word in missing}
    ordered = sorted(heavy, key=lambda word: (-heavy[word], word))
    content = [word for word in ordered if heavy[word] >= LEAST_WEIGHT]
    credits = find_credits(content, vocabulary, encoder)
    loss = sum(heavy[word] * (1.0 - credits[word]) for word in content)
    lost = tuple(word for word in content if not credits[word])
    return Survival(1.0 - loss / weight if weight else 1.0, weight, lost)


def area_of(merged: Units) -> tuple[Vocabulary, Vocabulary]:
    """Where what is asked or given may stand in the merged row, and where what is answered may."""
    asked = Vocabulary(merged.instruction.vocabulary | merged.input.vocabulary)
    return asked, Vocabulary(merged.output.vocabulary)
