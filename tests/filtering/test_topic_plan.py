"""One topic from vectors to groups, in the paper's way."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mergeit_async.filtering.pair import first_match
from mergeit_async.filtering.select import facility_location
from mergeit_async.filtering.topic_plan import PlanSettings, plan_topic

PAPER = PlanSettings(selection="euclidean", pairing="first_match", threshold=0.5)


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_budget_thins_the_topic_and_groups_use_only_rows_that_stay(metric) -> None:
    vectors = unit_vectors(40, 3, seed=0)

    plan = plan_topic(vectors, 25, PlanSettings(metric, "first_match", 0.5, 3))

    assert plan.selected.tolist() == sorted(facility_location(vectors, 25, metric).tolist())
    grouped = [row for group in plan.groups for row in group.members]
    assert grouped and set(grouped) <= set(plan.selected.tolist())
    for group in plan.groups:
        rows = vectors[list(group.members)]
        assert np.isclose(group.similarity, (rows @ rows.T).min(), atol=1e-4)


def test_a_budget_of_the_whole_topic_keeps_every_row() -> None:
    vectors = unit_vectors(30, 3, seed=1)

    plan = plan_topic(vectors, 30, PAPER)

    assert plan.selected.tolist() == list(range(30))
    assert list(plan.groups) == first_match(vectors, 0.5, 2)


def test_a_topic_of_one_row_stays_alone() -> None:
    plan = plan_topic(unit_vectors(1, 4, seed=0), 75, PAPER)

    assert plan.selected.tolist() == [0]
    assert plan.groups == ()


def test_only_the_papers_way_plans_a_topic_for_itself() -> None:
    assert PAPER.is_by_topic
    assert not PlanSettings().is_by_topic
    assert not PlanSettings("euclidean", "best_first").is_by_topic
    assert not PlanSettings("global", "first_match").is_by_topic
