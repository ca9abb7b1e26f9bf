"""The embedded model word by word: whole numbers, so that no sum depends on order or machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice

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
WORDS_AT_ONCE = 256
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

    def learn(self, words: Iterable[str]) -> None:
        """Read these words at once, which is cheaper than each where it first comes."""
        for chunk in batched_words(words):
            self._learn(chunk)

    def similarities(self, merged: Set[str], sources: Sequence[Set[str]]) -> list[float]:
        """The cosine between the words of `merged` and those of each source, 0 where none has any.

        The same bit for bit, on any machine and in whatever company the words come.
        """
        # Most of the merged words are the sources': only the rest is added and taken away, which
        # is exact with whole numbers.
        sums = [self._sum(words) for words in sources]
        whole = np.zeros(self._tokens.shape[1], dtype=np.int32)
        known: set[str] = set()
        for words, its_sum in zip(sources, sums, strict=True):
            kept = words & merged
            whole += its_sum
            if len(kept) < len(words):
                whole -= self._sum(words - kept)
            if again := kept & known:
                whole -= self._sum(again)
            known |= kept
        if len(known) < len(merged):
            whole += self._sum(merged - known)
        return _cosines(whole.astype(np.float64), [each.astype(np.float64) for each in sums])

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

    def _sum(self, words: Set[str]) -> NDArray[np.int32]:
        chosen = list(words)
        if len(chosen) > MOST_WORDS_A_TEXT:
            chosen = sorted(chosen)[:MOST_WORDS_A_TEXT]
        rows = self._find_rows(chosen)  # before the table is looked at: it may grow
        taken = self._table.take(rows, axis=0) if rows else self._table[:0]
        total: NDArray[np.int32] = np.add.reduce(taken, axis=0, dtype=np.int32)
        return total

    def _find_rows(self, words: Sequence[str]) -> list[int]:
        try:
            return list(map(self._rows.__getitem__, words))
        except KeyError:
            self._learn(words)
        return [self._rows[word] for word in words]

    def _take(self, words: Sequence[str]) -> NDArray[np.float64]:
        rows = [self._rows[word] for word in words]
        taken: NDArray[np.float64] = self._table.take(rows, axis=0).astype(np.float64)
        return taken

    def _learn(self, words: Sequence[str]) -> None:
        new = sorted({word for word in words if word not in self._rows})
        if not new:
            return
        if len(self._rows) + len(new) > MOST_WORDS:
            self._rows.clear()
            new = sorted(set(words))
        first = len(self._rows)
        self._reserve(first + len(new))
        self._table[first : first + len(new)] = self._quantise([self._read(word) for word in new])
        self._rows.update(zip(new, range(first, first + len(new)), strict=True))

    def _read(self, word: str) -> Sequence[int]:
        # One by one: a batch of a few words costs the tokenizer's threads more than the words.
        head = word[:LONGEST_WORD].encode(errors="replace").decode()
        tokens: Sequence[int] = self._encode(head, add_special_tokens=False).ids
        return tokens

    def _quantise(self, words: Sequence[Sequence[int]]) -> NDArray[np.int8]:
        """The mean of the vectors of each word's tokens, in whole steps: (n_words, dim)."""
        lengths = np.array([len(tokens) for tokens in words])
        tokens = [token for tokens in words for token in tokens]
        sums = np.zeros((len(words), self._tokens.shape[1]))
        if tokens:
            # Each after the one before it: the same sums in whatever company.
            starts = (np.cumsum(lengths) - lengths)[lengths > 0]
            vectors = self._tokens[tokens].astype(np.float64)
            sums[lengths > 0] = np.add.reduceat(vectors, starts, axis=0)
        peaks = np.abs(sums).max(axis=1, keepdims=True)
        peaks[peaks == 0.0] = 1.0
        steps: NDArray[np.int8] = np.rint(sums * (STEPS / peaks)).astype(np.int8)
        return steps

    def _reserve(self, n_words: int) -> None:
        if n_words > len(self._table):
            grown = np.zeros((2 * n_words, self._table.shape[1]), dtype=np.int8)
            grown[: len(self._table)] = self._table
            self._table = grown


def batched_words(words: Iterable[str]) -> Iterator[list[str]]:
    """The first MOST_WORDS of `words`, in lists of bounded length."""
    rest = iter(islice(words, MOST_WORDS))
    while chunk := list(islice(rest, WORDS_AT_ONCE)):
        yield chunk


def _cosines(one: NDArray[np.float64], others: Iterable[NDArray[np.float64]]) -> list[float]:
    """The cosine of a vector (dim,) with each of `others`, 0 where one has no length."""
    square = float(one @ one)
    products = ((float(one @ other), square * float(other @ other)) for other in others)
    return [dot / math.sqrt(squares) if squares else 0.0 for dot, squares in products]
