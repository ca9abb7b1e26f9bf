"""How rare words are in the dataset: what is rare says more about a row than what is common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import orjson

from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.units import read_words

# Words of fewer texts weigh as much as words that the dataset does not have.
RAREST = 2
# The weight of words that say nothing alone, whatever the dataset.
FUNCTION_WEIGHT = 0.1
# A small dataset tells little: so many imagined texts without the word temper its counts.
IMAGINED_TEXTS = 50


class WordWeights:
    """The weight of each word, from nearly 0 for those of every text to 1 for the rarest.

    It is the inverse document frequency, log(texts / texts with the word), divided by its largest
    value.
    """

    def __init__(self, n_texts: int, counts: dict[str, int]) -> None:
        self._n_texts = n_texts
        self._counts = {word: n for word, n in sorted(counts.items()) if n >= RAREST}
        total = n_texts + IMAGINED_TEXTS
        largest = math.log(total / 1.0)
        self._weights = {
            word: math.log(total / n) / largest for word, n in self._counts.items()
        } | dict.fromkeys(FUNCTION_WORDS, FUNCTION_WEIGHT)

    @classmethod
    def count(cls, texts: Iterable[str]) -> WordWeights:
        """The weights in a dataset of `texts`; how many of them have a word is what counts."""
        counts: Counter[str] = Counter()
        n_texts = 0
        for text in texts:
            counts.update(set(read_words(text)))
            n_texts += 1
        return cls(n_texts, dict(counts))

    @property
    def words(self) -> Iterable[str]:
        """The words that the dataset has more than once."""
        return self._counts.keys()

    def weigh(self, word: str) -> float:
        return self._weights.get(word, 1.0)

    def weigh_all(self, words: Iterable[str]) -> float:
        """The sum over `words`, the same in whatever order they come."""
        get = self._weights.get
        return math.fsum([get(word, 1.0) for word in words])

    def to_json(self) -> bytes:
        document = {"texts": self._n_texts, "counts": self._counts}
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> WordWeights:
        document = orjson.loads(data)
        return cls(document["texts"], document["counts"])
