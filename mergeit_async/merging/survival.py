"""How much of a field of a source survives in the merged row, by weight of its words."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from mergeit_async.merging.matching import (
    UNTOLD,
    Encoder,
    Vocabulary,
    find_credits,
    is_known_to_model,
)
from mergeit_async.merging.weights import WordWeights

# Words of less weight may be lost: every rewording changes them.
LEAST_WEIGHT = 0.15


class Survival(NamedTuple):
    """The share of a field's weight that survives, 0 to 1, and the lost words, heaviest first."""

    share: float
    lost: tuple[str, ...]


FULL = Survival(1.0, ())


def measure_survival(
    words: Set[str], vocabulary: Vocabulary, weights: WordWeights, encoder: Encoder
) -> Survival:
    """Survival of `words` among `vocabulary`."""
    missing = words - vocabulary.words
    if not missing:
        return FULL
    heavy = {word: weights.weigh(word) for word in missing}
    ordered = sorted(heavy, key=lambda word: (-heavy[word], word))
    content = [word for word in ordered if heavy[word] >= LEAST_WEIGHT]
    credits = find_credits(content, vocabulary, encoder)
    loss = sum(heavy[word] * (1.0 - credits[word]) for word in content)
    lost = tuple(
        word
        for word in content
        if not credits[word] or (credits[word] == UNTOLD and not is_known_to_model(word))
    )
    return Survival(1.0 - loss / weights.weigh_all(words), lost)


def join_survivals(
    mine: Survival, common: Survival, my_weight: float, common_weight: float
) -> Survival:
    """The survival of two parts of a field, each counted by its weight."""
    weight = my_weight + common_weight
    if not weight:
        return FULL
    kept = mine.share * my_weight + common.share * common_weight
    return Survival(kept / weight, mine.lost + common.lost)
