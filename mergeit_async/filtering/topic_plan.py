"""One topic, planned for itself: which of its rows stay, and which of those are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.pair import PairedGroup, first_match
from mergeit_async.filtering.select import facility_location
from mergeit_async.filtering.similarity import Metric

# Part of a run's fingerprint; raise it with any change here that could change a plan.
ALGORITHM_VERSION = "filtering/2"

Selection = Literal["global", "cosine", "euclidean"]
Pairing = Literal["absorb", "best_first", "first_match"]


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How rows are thinned and paired.

    `selection` "global" covers all rows at once; "cosine" and "euclidean" are the similarity with
    which each topic is thinned for itself (of the two the second covers more, see
    docs/decisions/0004). `pairing` "first_match" goes through a topic in the paper's order; the
    other two take the most similar rows first, whatever their topics, "absorb" with the rows that
    thinning would leave out. `threshold` is the cosine every two rows of a group must exceed. The
    paper's run is ("euclidean", "first_match", 0.55, 2).
    """

    selection: Selection = "global"
    pairing: Pairing = "absorb"
    threshold: float = 0.55
    max_group_size: int = 2

    @property
    def is_by_topic(self) -> bool:
        """Whether each topic is planned for itself, as in the paper."""
        return self.selection != "global" and self.pairing == "first_match"


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """The rows of a topic that stay, (n_selected,) int64 rising, and the groups among them.

    All indices count the topic's rows from 0.
    """

    selected: NDArray[np.int64]
    groups: tuple[PairedGroup, ...]


def plan_topic(vectors: NDArray[np.float32], budget: int, settings: PlanSettings) -> TopicPlan:
    """Thin the topic of (n_rows, dim) unit `vectors` to `budget` rows and pair what is left.

    For settings that plan by topic.
    """
    assert settings.selection != "global"
    selected = thin_topic(vectors, budget, settings.selection)
    groups = first_match(vectors[selected], settings.threshold, settings.max_group_size)
    return TopicPlan(selected, renumber(groups, selected))


def thin_topic(vectors: NDArray[np.float32], budget: int, metric: Metric) -> NDArray[np.int64]:
    """The `budget` rows, rising, that cover the topic best."""
    if budget >= len(vectors):
        return np.arange(len(vectors))
    return np.sort(facility_location(vectors, budget, metric))


def renumber(groups: list[PairedGroup], rows: NDArray[np.int64]) -> tuple[PairedGroup, ...]:
    """Groups of some rows, counted from 0, as groups of all."""
    return tuple(
        PairedGroup(tuple(rows[list(group.members)].tolist()), group.similarity) for group in groups
    )
