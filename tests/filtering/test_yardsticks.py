"""The method's yardsticks on a third of Alpaca, one seed; bench/filtering.py has the full table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mergeit_async.filtering.embedding import check_vectors
from mergeit_async.filtering.neighbours import find_neighbours
from mergeit_async.filtering.pair import PairedGroup
from mergeit_async.filtering.reduce import reduce_vectors
from mergeit_async.filtering.select import topic_budgets
from mergeit_async.filtering.topic_plan import PlanSettings
from mergeit_async.filtering.topics import assign_topics, default_topic_count, smooth_topics
from mergeit_async.filtering.whole_plan import WholePlan, plan_rows

VECTORS = (
    Path(__file__).resolve().parents[2].parent / "shared" / "data" / "alpaca_17k.minilm.f16.npy"
)
PAPER = PlanSettings("euclidean", "first_match")


# A topic's matrices are small: where cores are busy, BLAS threads only wait for one another.
@threadpool_limits.wrap(limits=1)
def test_one_seed_reaches_the_yardsticks_of_coverage_and_pairs() -> None:
    if not VECTORS.exists():
        pytest.skip("the shared MiniLM vectors are not on this machine")
    vectors = check_vectors(np.load(VECTORS), 17_387, VECTORS.name)
    neighbours, count = find_neighbours(vectors, 42), default_topic_count(17_387)
    smoothed = smooth_topics(vectors, neighbours, count)
    labels = assign_topics(reduce_vectors(smoothed), count, seed=42)

    def plan(settings: PlanSettings, target: int | None = None) -> WholePlan:
        budgets = topic_budgets(np.bincount(labels), None, target)
        return plan_rows(vectors, labels, budgets, neighbours, settings)

    thinned = plan(PlanSettings(threshold=1.0), target=2_790)
    ours, absorbed = plan(PlanSettings()).groups, plan(PlanSettings(), target=2_790)
    paper = plan(PAPER).groups

    assert thinned.stays.sum() == 2_790
    assert coverage(vectors, np.flatnonzero(thinned.stays)) >= 0.704
    assert len(ours) >= 6_200 and mean_similarity(ours) >= 0.705
    assert absorbed.stays.sum() > 5_000 and mean_similarity(absorbed.groups) >= 0.70
    assert len(paper) < 6_100 and mean_similarity(paper) == pytest.approx(0.62, abs=0.01)


def mean_similarity(groups: Sequence[PairedGroup]) -> float:
    return float(np.mean([group.similarity for group in groups]))


def coverage(vectors: NDArray[np.float32], kept: NDArray[np.int64]) -> float:
    blocks = (vectors[at : at + 2048] @ vectors[kept].T for at in range(0, len(vectors), 2048))
    return float(np.concatenate([block.max(axis=1) for block in blocks]).mean())
