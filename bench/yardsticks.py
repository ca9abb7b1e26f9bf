"""The yardsticks of stage 1: coverage, pair similarity, and what survives a change of the rows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Pairs = NDArray[np.int64]

BLOCK = 2048


def coverage(vectors: Vectors, kept: Rows) -> float:
    """Mean over all rows of the largest cosine between the row and a kept row."""
    blocks = range(0, len(vectors), BLOCK)
    closest = [(vectors[at : at + BLOCK] @ vectors[kept].T).max(axis=1) for at in blocks]
    return float(np.concatenate(closest).mean())


def cosines(vectors: Vectors, pairs: Pairs) -> NDArray[np.float64]:
    first, second = vectors[pairs[:, 0]], vectors[pairs[:, 1]]
    products: NDArray[np.float64] = np.einsum("pd,pd->p", first, second, dtype=np.float64)
    return products


def draw_subsets(n: int, draw: int) -> list[Rows]:
    """Three random subsets of nine rows in ten."""
    generator = np.random.default_rng(draw)
    return [np.sort(generator.permutation(n)[: int(0.9 * n)]) for _ in range(3)]


def topic_agreement(first: Rows, second: Rows) -> float:
    """Adjusted Rand index of two labellings; -1 marks rows that one of them has not seen."""
    common = (first >= 0) & (second >= 0)
    return float(adjusted_rand_score(first[common], second[common]))


def pair_overlap(first: Pairs, second: Pairs, common: NDArray[np.bool_]) -> float:
    """Jaccard index of the pairs whose rows are both in `common`."""
    sets = [set(map(tuple, np.sort(pairs[common[pairs].all(axis=1)]))) for pairs in (first, second)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def inertia(points: Vectors, labels: Rows) -> float:
    """The sum of squared distances from the mean of each row's topic."""
    topics = (points[labels == topic] for topic in np.unique(labels))
    return sum(float(rows.var(axis=0).sum()) * len(rows) for rows in topics)


def cover_greedily(vectors: Vectors, budget: int) -> Rows:
    """Lazy greedy facility location over all pairs: what any selection is measured against.

    Holds all cosines: 4 bytes a pair.
    """
    similarities = np.concatenate(list(_similarities(vectors)))
    covered = np.zeros(len(vectors), np.float32)
    heap = [(-gain, row) for row, gain in enumerate(np.maximum(similarities, 0).sum(axis=1))]
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < budget:
        _, row = heapq.heappop(heap)
        improvement = similarities[row] - covered
        gain = np.maximum(improvement, 0, out=improvement).sum()
        # Rounding: a bound this close to the next is no reason to look again.
        if gain >= -heap[0][0] - 1e-4:
            chosen.append(row)
            np.maximum(covered, similarities[row], out=covered)
        else:
            heapq.heappush(heap, (-gain, row))
    return np.array(chosen)


def pair_greedily(vectors: Vectors, threshold: float) -> Pairs:
    """All pairs above the threshold, the most similar first, each row once."""
    found = []
    for number, block in enumerate(_similarities(vectors)):
        first, second = np.nonzero(block > threshold)
        first_row = first + number * BLOCK
        later = second > first_row
        found.append((first_row[later], second[later], block[first, second][later]))
    first, second, similarity = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(-similarity, kind="stable")
    is_used = np.zeros(len(vectors), dtype=np.bool_)
    pairs = []
    for left, right in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if not (is_used[left] or is_used[right]):
            is_used[left] = is_used[right] = True
            pairs.append((left, right))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _similarities(vectors: Vectors) -> Iterator[Vectors]:
    for at in range(0, len(vectors), BLOCK):
        yield vectors[at : at + BLOCK] @ vectors.T
