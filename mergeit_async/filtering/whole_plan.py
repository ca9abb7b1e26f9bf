"""All topics, planned together: which rows stay, and which are merged, across their borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.cover import cover_rows
from mergeit_async.filtering.neighbours import Neighbours, find_neighbours
from mergeit_async.filtering.pair import PairedGroup, best_first, first_match
from mergeit_async.filtering.partition import split_labels
from mergeit_async.filtering.topic_plan import PlanSettings, renumber, thin_topic


@dataclass(frozen=True, slots=True)
class WholePlan:
    """`stays`, (n_rows,) bool, says whose content goes on; `groups` come by their first rows.

    With "absorb" more rows go on than thinning keeps: those that were grouped with a kept one.
    """

    stays: NDArray[np.bool_]
    groups: tuple[PairedGroup, ...]


def plan_rows(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int32],
    budgets: NDArray[np.int64],
    neighbours: Neighbours,
    settings: PlanSettings,
) -> WholePlan:
    """Thin and pair all (n_rows, dim) unit `vectors`, whose topics are `labels`.

    `budgets` are the rows each topic may keep; "global" keeps as many, wherever they cover most.
    """
    kept = _thin(vectors, labels, budgets, neighbours, settings)
    groups = _pair(vectors, labels, kept, neighbours, settings)
    stays = kept.copy()
    for group in groups:
        stays[list(group.members)] = True
    return WholePlan(stays, groups)


def _thin(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int32],
    budgets: NDArray[np.int64],
    neighbours: Neighbours,
    settings: PlanSettings,
) -> NDArray[np.bool_]:
    total = int(budgets.sum())
    kept = np.full(len(vectors), total >= len(vectors))
    if kept.all():
        return kept
    if settings.selection == "global":
        kept[cover_rows(neighbours, total)] = True
        return kept
    for topic, rows in enumerate(split_labels(labels)):
        kept[rows[thin_topic(vectors[rows], int(budgets[topic]), settings.selection)]] = True
    return kept


def _pair(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int32],
    kept: NDArray[np.bool_],
    neighbours: Neighbours,
    settings: PlanSettings,
) -> tuple[PairedGroup, ...]:
    threshold, size = settings.threshold, settings.max_group_size
    if settings.pairing == "absorb":
        return tuple(best_first(vectors, neighbours, threshold, size, kept))
    rows = np.flatnonzero(kept)
    if settings.pairing == "best_first":
        # The closest of all rows are mostly gone; these are the closest of those that stay.
        near = neighbours if kept.all() else find_neighbours(vectors[rows], seed=0)
        return renumber(best_first(vectors[rows], near, threshold, size), rows)
    found: list[PairedGroup] = []
    for topic in split_labels(labels):
        members = topic[kept[topic]]
        found += renumber(first_match(vectors[members], threshold, size), members)
    return tuple(sorted(found, key=lambda group: group.members))
