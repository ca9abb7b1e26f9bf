"""What a topic is about: the words that are its own, and the rows in the middle of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mergeit_async.filtering.similarity import snap_to_grid

# Letters only, at least two; scripts without spaces come as the runs between their marks.
WORD = r"(?u)\b[^\W\d_]{2,}\b"
# A word of a single text names that text, not the topic, unless there is nothing else.
RAREST = 2
# So many rows in the middle of a topic are looked at for some that differ.
CANDIDATES = 64


def key_words(
    texts: Sequence[str],
    labels: NDArray[np.int32],
    number: int,
    left_out: Collection[str] = frozenset(),
) -> list[tuple[str, ...]]:
    """At most `number` words of each topic of the `texts`, the most telling first.

    Class-based TF-IDF (BERTopic, arXiv 2203.05794): the share of a word in its topic, times
    log(1 + words of an average topic / times it occurs in all). A word counts once a text, so a
    long text does not name its topic alone. Ties by alphabet; `labels` is (n_texts,) int32.
    """
    words, counts = _count_words(texts, labels, left_out)
    if not words:
        return [()] * (int(labels.max(initial=-1)) + 1)
    in_topic = counts.sum(axis=1)
    rarity = np.log1p(in_topic.mean() / counts.sum(axis=0))
    named = []
    for topic, total in enumerate(in_topic):
        share = counts[[topic]].toarray()[0] / max(1, total)
        # Words of one text come after all others: their score is below 0.
        score = np.where(share * total < RAREST, share - 1.0, share * rarity)
        best = np.argsort(-np.where(share > 0, score, -math.inf), kind="stable")[:number]
        named.append(tuple(words[word] for word in best if share[word] > 0))
    return named


def typical_rows(vectors: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """The `number` rows of a topic's (n_rows, dim) unit `vectors` closest to their mean, in order.

    Of equal rows only the first counts.
    """
    grid = snap_to_grid(vectors)
    closeness = grid @ snap_to_grid(grid.mean(axis=0, dtype=np.float64))
    order = np.argsort(-closeness, kind="stable")[:CANDIDATES]
    _, first = np.unique(grid[order], axis=0, return_index=True)
    return order[np.sort(first)[:number]]


def _count_words(
    texts: Sequence[str], labels: NDArray[np.int32], left_out: Collection[str]
) -> tuple[list[str], csr_array]:
    """The words in order, and in how many texts of each topic they are: (n_topics, n_words)."""
    # Here, not above: it takes a second to import, and a resumed run has its topics already.
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(token_pattern=WORD, binary=True)
    if not any(map(vectorizer.build_analyzer(), texts)):
        return [], csr_array((0, 0))
    found = csr_array(vectorizer.fit_transform(texts))
    words = vectorizer.get_feature_names_out().tolist()
    wanted = np.array([at for at, word in enumerate(words) if word not in left_out], dtype=np.int64)
    shape = (int(labels.max()) + 1, len(texts))
    of_topic = csr_array((np.ones(len(texts)), (labels, np.arange(len(texts)))), shape=shape)
    return [words[at] for at in wanted], csr_array((of_topic @ found)[:, wanted])
