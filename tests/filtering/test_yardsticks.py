"""The method's yardsticks on a third of Alpaca, one seed; bench/filtering.py has the full table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mergeit_async.filtering.embedding import check_vectors
from mergeit_async.filtering.reduce import reduce_vectors
from mergeit_async.filtering.topic_plan import TopicSettings, plan_topic
from mergeit_async.filtering.topics import assign_topics, default_topic_count

VECTORS = (
    Path(__file__).resolve().parents[2].parent / "shared" / "data" / "alpaca_17k.minilm.f16.npy"
)


# A topic's matrices are small: where cores are busy, BLAS threads only wait for one another.
@threadpool_limits.wrap(limits=1)
def test_one_seed_reaches_the_yardsticks_of_coverage_and_pairs() -> None:
    if not VECTORS.exists():
        pytest.skip("the shared MiniLM vectors are not on this machine")
    vectors = check_vectors(np.load(VECTORS), 17_387, VECTORS.name)
    labels = assign_topics(reduce_vectors(vectors), default_topic_count(17_387), seed=42)
    topics = [np.flatnonzero(labels == topic) for topic in range(labels.max() + 1)]

    thinned = [rows[plan_topic(vectors[rows], 30, TopicSettings()).selected] for rows in topics]
    ours = similarities(vectors, topics, TopicSettings())
    paper = similarities(vectors, topics, TopicSettings(pairing="first_match"))

    assert coverage(vectors, np.concatenate(thinned)) >= 0.693
    assert len(ours) >= 5_450 and np.mean(ours) >= 0.705
    assert 5_750 < len(paper) < 6_100 and np.mean(paper) == pytest.approx(0.62, abs=0.01)


def similarities(
    vectors: NDArray[np.float32], topics: list[NDArray[np.int64]], settings: TopicSettings
) -> list[float]:
    plans = [plan_topic(vectors[rows], len(rows), settings) for rows in topics]
    return [group.similarity for plan in plans for group in plan.groups]


def coverage(vectors: NDArray[np.float32], kept: NDArray[np.int64]) -> float:
    blocks = (vectors[at : at + 2048] @ vectors[kept].T for at in range(0, len(vectors), 2048))
    return float(np.concatenate([block.max(axis=1) for block in blocks]).mean())
