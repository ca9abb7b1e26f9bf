"""The embedded model word by word: whole numbers, so that no sum depends on order or machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from mergeit_async.providers.embeddings import WordLlamaEmbedder
from mergeit_async.providers.languages import Languages

# A word's vector is rounded to whole multiples of its length / 127. Products of two such vectors,
# and sums of a million of them, are whole numbers below 2 ** 53: exact in a float64, whatever
# order a BLAS adds them in.
STEPS = 127
# Words beyond so many, 51 MB, start the table anew; what is in it never changes a result.
MOST_WORDS = 200_000
LONGEST_WORD = 48
# Words of a text beyond so many add little to its mean, and the table has to hold them at once.
MOST_WORDS_A_TEXT = 2_000


class WordVectors:
    """How close words, and bags of words, are by WordLlama's token vectors.

    Each word is read by the tokenizer once and then kept in a table, which makes a text's vector a
    sum of rows: some twenty times cheaper than tokenising the text. Made for one thread.
    """

    def __init__(self, embedder: WordLlamaEmbedder | None = None) -> None:
        model = (embedder or WordLlamaEmbedder())._model
        self._languages = Languages()
        self._encode = model.tokenizer.encode
        self._tokens: NDArray[np.float32] = model.embedding
        self._rows: dict[str, int] = {}
        self._table = np.zeros((1024, self._tokens.shape[1]), dtype=np.int8)

    def similarities(self, merged: Set[str], sources: Sequence[Set[str]]) -> list[float]:
        """The cosine between the words of `merged` and those of each source, 0 where none has any.

        The same bit for bit, on any machine and in whatever company the words come.
        """
        whole = self._sum(merged)
        return [_cosine(whole, self._sum(words)) for words in sources]

    def kinships(self, lost: Sequence[str], kept: Sequence[str]) -> list[float]:
        """For each of `lost` its highest cosine with any of `kept`, 0 where there is none."""
        lost, kept = lost[:MOST_WORDS_A_TEXT], kept[:MOST_WORDS_A_TEXT]
        if not lost or not kept:
            return [0.0] * len(lost)
        self._learn([*lost, *kept])
        ours, theirs = self._take(lost), self._take(kept)
        lengths = np.sqrt((ours * ours).sum(1))[:, None] * np.sqrt((theirs * theirs).sum(1))
        cosines = (ours @ theirs.T) / np.maximum(lengths, 1.0)
        best: list[float] = np.maximum(cosines.max(axis=1), 0.0).tolist()
        return best

    def rank_languages(self, text: str) -> Mapping[str, float]:
        """The log-likelihood of each language `text` may be in, up to a constant."""
        return self._languages.rank_languages(text)

    def _sum(self, words: Set[str]) -> NDArray[np.float64]:
        chosen = list(words)
        if len(chosen) > MOST_WORDS_A_TEXT:
            chosen = sorted(chosen)[:MOST_WORDS_A_TEXT]
        rows = self._find_rows(chosen)
        total = self._table.take(rows, axis=0).sum(axis=0, dtype=np.int32)
        return total.astype(np.float64)

    def _find_rows(self, words: Sequence[str]) -> list[int]:
        try:
            return [self._rows[word] for word in words]
        except KeyError:
            self._learn(words)
        return [self._rows[word] for word in words]

    def _take(self, words: Sequence[str]) -> NDArray[np.float64]:
        taken: NDArray[np.float64] = self._table[[self._rows[word] for word in words]].astype(
            np.float64
        )
        return taken

    def _learn(self, words: Sequence[str]) -> None:
        new = sorted({word for word in words if word not in self._rows})
        if not new:
            return
        if len(self._rows) + len(new) > MOST_WORDS:
            self._rows.clear()
            new = sorted(set(words))
        self._reserve(len(self._rows) + len(new))
        for word in new:
            row = len(self._rows)
            self._table[row] = self._quantise(self._read(word))
            self._rows[word] = row

    def _read(self, word: str) -> Sequence[int]:
        # One by one: a batch of a few words costs the tokenizer's threads more than the words.
        head = word[:LONGEST_WORD].encode(errors="replace").decode()
        tokens: Sequence[int] = self._encode(head, add_special_tokens=False).ids
        return tokens

    def _quantise(self, tokens: Sequence[int]) -> NDArray[np.int8]:
        """The mean of the vectors of a word's tokens, in whole steps."""
        if not tokens:
            return np.zeros(self._tokens.shape[1], dtype=np.int8)
        # Added one after the other: numpy's own sum may pair them differently on another machine.
        total = np.zeros(self._tokens.shape[1], dtype=np.float64)
        for token in tokens:
            total += self._tokens[token]
        peak = float(np.abs(total).max()) or 1.0
        return np.rint(total * (STEPS / peak)).astype(np.int8)

    def _reserve(self, n_words: int) -> None:
        if n_words > len(self._table):
            grown = np.zeros((2 * n_words, self._table.shape[1]), dtype=np.int8)
            grown[: len(self._table)] = self._table
            self._table = grown


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lengths = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
    return float(one @ other) / lengths if lengths else 0.0
