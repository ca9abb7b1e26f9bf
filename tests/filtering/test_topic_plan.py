"""One topic from vectors to groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.pair import best_first, first_match
from mergeit_async.filtering.select import facility_location
from mergeit_async.filtering.topic_plan import TopicSettings, plan_topic


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


def test_a_budget_thins_the_topic_and_groups_use_only_rows_that_stay() -> None:
    vectors = unit_vectors(40, 3, seed=0)

    plan = plan_topic(vectors, 25, TopicSettings(threshold=0.5, max_group_size=3))

    assert plan.selected.tolist() == sorted(facility_location(vectors, 25, "euclidean").tolist())
    grouped = [row for group in plan.groups for row in group.members]
    assert grouped and set(grouped) <= set(plan.selected.tolist())
    for group in plan.groups:
        rows = vectors[list(group.members)]
        assert np.isclose(group.similarity, (rows @ rows.T).min(), atol=1e-4)


def test_a_budget_of_the_whole_topic_keeps_every_row() -> None:
    vectors = unit_vectors(30, 3, seed=1)

    plan = plan_topic(vectors, 30, TopicSettings())

    assert plan.selected.tolist() == list(range(30))
    assert list(plan.groups) == best_first(vectors, 0.55, 2)


def test_the_settings_choose_metric_and_order() -> None:
    vectors = unit_vectors(60, 4, seed=2)
    paper = TopicSettings(metric="cosine", pairing="first_match")

    plan = plan_topic(vectors, 60, paper)
    thinned = plan_topic(vectors, 20, paper)

    assert list(plan.groups) == first_match(vectors, 0.55, 2) != best_first(vectors, 0.55, 2)
    assert thinned.selected.tolist() == sorted(facility_location(vectors, 20, "cosine").tolist())


def test_a_topic_of_one_row_stays_alone() -> None:
    plan = plan_topic(unit_vectors(1, 4, seed=0), 75, TopicSettings())

    assert plan.selected.tolist() == [0]
    assert plan.groups == ()
