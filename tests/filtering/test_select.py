"""Facility location against a plain greedy, its memory, and the budgets of the topics."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mergeit_async.filtering.select import facility_location, topic_budgets
from mergeit_async.filtering.similarity import Metric, compare_rows, snap_to_grid


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


def plain_greedy(vectors: NDArray[np.float32], budget: int, metric: Metric) -> list[int]:
    """The definition, with nothing lazy in it."""
    similarities = compare_rows(
        snap_to_grid(vectors.astype(np.float64)), np.arange(len(vectors)), metric
    )
    chosen: list[int] = []
    for _ in range(budget):
        covered = similarities[chosen].max(axis=0, initial=-2.0)
        totals = np.maximum(similarities, covered).sum(axis=1)
        totals[chosen] = -np.inf
        chosen.append(int(np.argmax(totals)))
    return chosen


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    dim=st.integers(1, 6),
    share=st.floats(0, 1),
    metric=st.sampled_from(["cosine", "euclidean"]),
    table_entries=st.integers(1, 3600),
)
def test_it_chooses_what_plain_greedy_chooses_however_small_its_table(
    seed: int, n: int, dim: int, share: float, metric: Metric, table_entries: int
) -> None:
    # Few dimensions and repeated rows make ties, which must go to the lowest index.
    vectors = unit_vectors(n, dim, seed)[np.random.default_rng(seed).integers(0, n, n)]
    budget = round(share * n)

    chosen = facility_location(vectors, budget, metric, table_entries=table_entries)

    assert chosen.tolist() == plain_greedy(vectors, budget, metric)


def test_equal_rows_are_chosen_in_their_order() -> None:
    vectors = np.repeat(unit_vectors(1, 8, seed=0), 30, axis=0)

    assert facility_location(vectors, 5).tolist() == [0, 1, 2, 3, 4]


def test_a_budget_above_the_size_chooses_every_row_once() -> None:
    assert sorted(facility_location(unit_vectors(9, 4, seed=0), 20)) == list(range(9))


@pytest.mark.parametrize(("n", "budget"), [(0, 5), (5, 0)])
def test_nothing_is_chosen_from_nothing_or_for_nothing(n: int, budget: int) -> None:
    assert facility_location(unit_vectors(n, 4, seed=0), budget).shape == (0,)


def test_memory_stays_bounded_for_a_giant_topic() -> None:
    vectors = unit_vectors(8192, 2, seed=0)
    tracemalloc.start()
    facility_location(vectors, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 300e6 < 8 * len(vectors) ** 2


@given(sizes=st.lists(st.integers(0, 300), max_size=40), target=st.integers(0, 5000))
def test_a_target_is_met_exactly_and_every_topic_has_its_share(
    sizes: list[int], target: int
) -> None:
    budgets = topic_budgets(np.array(sizes, dtype=np.int64), None, target)

    assert budgets.sum() == min(target, sum(sizes))
    assert (budgets >= 0).all() and (budgets <= sizes).all()
    occupied = np.count_nonzero(sizes)
    assert np.count_nonzero(budgets) == occupied if target >= occupied else budgets.max() <= 1


def test_a_target_is_spread_by_size_with_at_least_one_row_a_topic() -> None:
    budgets = topic_budgets(np.array([600, 300, 99, 1]), None, 101)

    assert budgets.tolist() == [60, 30, 10, 1]


def test_a_target_below_the_number_of_topics_goes_to_the_largest() -> None:
    assert topic_budgets(np.array([5, 9, 0, 7, 9]), None, 3).tolist() == [0, 1, 0, 1, 1]


def test_per_cluster_caps_each_topic_and_none_keeps_all() -> None:
    sizes = np.array([10, 75, 80])

    assert topic_budgets(sizes, 75, None).tolist() == [10, 75, 75]
    assert topic_budgets(sizes, None, None).tolist() == [10, 75, 80]
    assert topic_budgets(sizes, 75, 165).tolist() == [10, 75, 80]
