"""All topics planned together: what is kept, what is absorbed, and groups across topics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mergeit_async.filtering.cover import cover_rows
from mergeit_async.filtering.neighbours import find_neighbours
from mergeit_async.filtering.topic_plan import Pairing, PlanSettings, Selection, plan_topic
from mergeit_async.filtering.whole_plan import WholePlan, plan_rows


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


def on_circle(*degrees: float) -> NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def plan(
    vectors: NDArray[np.float32], labels: list[int], budgets: list[int], how: PlanSettings
) -> WholePlan:
    topics, allowed = np.array(labels, np.int32), np.array(budgets, np.int64)
    return plan_rows(vectors, topics, allowed, find_neighbours(vectors, 0), how)


def members(found: WholePlan) -> list[tuple[int, ...]]:
    return [group.members for group in found.groups]


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    selection=st.sampled_from(["global", "cosine", "euclidean"]),
    pairing=st.sampled_from(["absorb", "best_first", "first_match"]),
    budget=st.integers(1, 20),
    size=st.integers(2, 4),
)
def test_groups_are_disjoint_and_of_rows_that_stay(
    seed: int, selection: Selection, pairing: Pairing, budget: int, size: int
) -> None:
    vectors, labels = unit_vectors(45, 4, seed), [row % 3 for row in range(45)]

    found = plan(
        vectors, labels, [min(15, budget)] * 3, PlanSettings(selection, pairing, 0.5, size)
    )

    grouped = [row for group in found.groups for row in group.members]
    assert len(grouped) == len(set(grouped))
    assert found.stays[grouped].all()
    assert members(found) == sorted(members(found))
    assert all(group.similarity > 0.5 for group in found.groups)
    kept = 3 * min(15, budget)
    assert found.stays.sum() == kept if pairing != "absorb" else found.stays.sum() >= kept


def test_best_first_takes_the_closest_pair_across_topics() -> None:
    vectors = on_circle(0, 20, 25, 45)
    found = plan(vectors, [0, 0, 1, 1], [2, 2], PlanSettings("global", "best_first", 0.9))
    assert members(found) == [(1, 2)]
    found = plan(vectors, [0, 0, 1, 1], [2, 2], PlanSettings("global", "first_match", 0.9))
    assert members(found) == [(0, 1), (2, 3)]


def test_absorbing_keeps_the_content_of_the_row_that_thinning_left_out() -> None:
    vectors = on_circle(0, 10, 90, 101)
    kept = cover_rows(find_neighbours(vectors, 0), 2)

    thinned = plan(vectors, [0, 0, 1, 1], [1, 1], PlanSettings("global", "best_first", 0.9))
    absorbing = plan(vectors, [0, 0, 1, 1], [1, 1], PlanSettings("global", "absorb", 0.9))

    assert np.flatnonzero(thinned.stays).tolist() == sorted(kept.tolist())
    assert thinned.groups == ()
    assert members(absorbing) == [(0, 1), (2, 3)]
    assert absorbing.stays.all()


def test_without_thinning_absorbing_is_best_first() -> None:
    vectors, labels = unit_vectors(60, 4, 0), [row % 4 for row in range(60)]
    absorbing = plan(vectors, labels, [15] * 4, PlanSettings("global", "absorb"))
    assert (
        absorbing.groups
        == plan(vectors, labels, [15] * 4, PlanSettings("global", "best_first")).groups
    )
    assert absorbing.groups


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_papers_way_comes_out_the_same_as_topic_by_topic(metric: Selection) -> None:
    vectors, how = unit_vectors(60, 4, 1), PlanSettings(metric, "first_match", 0.5)
    found = plan(vectors, [row % 2 for row in range(60)], [12, 30], how)
    stays, groups = [], []
    for topic, budget in ((0, 12), (1, 30)):
        rows = np.arange(topic, 60, 2)
        own = plan_topic(vectors[rows], budget, how)
        stays += rows[own.selected].tolist()
        groups += [tuple(rows[list(group.members)].tolist()) for group in own.groups]
    assert np.flatnonzero(found.stays).tolist() == sorted(stays)
    assert members(found) == sorted(groups)


def test_no_rows_have_an_empty_plan() -> None:
    found = plan(np.empty((0, 4), np.float32), [], [], PlanSettings())
    assert found.stays.shape == (0,)
    assert found.groups == ()


def test_equal_rows_are_absorbed_in_their_order() -> None:
    vectors = np.repeat(on_circle(33), 6, axis=0)
    found = plan(vectors, [0] * 6, [2], PlanSettings())
    assert members(found) == [(0, 2), (1, 3)]
