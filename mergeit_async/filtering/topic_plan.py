"""One topic, planned: which of its rows stay, and which of those are merged with which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.pair import PairedGroup, best_first, first_match
from mergeit_async.filtering.select import facility_location
from mergeit_async.filtering.similarity import Metric

# Part of a run's fingerprint; raise it with any change here that could change a plan.
ALGORITHM_VERSION = "filtering/1"


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How a topic is thinned and paired.

    `metric` is the similarity of facility location; "euclidean", which the published code uses on
    the full vectors too, covers more than "cosine" and than the reduced points do: 0.6943 against
    0.6939 and 0.6940 (bench/filtering.py). `threshold` is the cosine every two rows of a group
    must exceed. The paper's run is ("euclidean", "first_match", 0.55, 2).
    """

    metric: Metric = "euclidean"
    pairing: Literal["best_first", "first_match"] = "best_first"
    threshold: float = 0.55
    max_group_size: int = 2


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """The rows of a topic that stay, (n_selected,) int64 rising, and the groups among them.

    All indices count the topic's rows from 0.
    """

    selected: NDArray[np.int64]
    groups: tuple[PairedGroup, ...]


def plan_topic(vectors: NDArray[np.float32], budget: int, settings: TopicSettings) -> TopicPlan:
    """Thin the topic of (n_rows, dim) unit `vectors` to `budget` rows and pair what is left."""
    selected = _thin(vectors, budget, settings.metric)
    pair_rows = best_first if settings.pairing == "best_first" else first_match
    groups = pair_rows(vectors[selected], settings.threshold, settings.max_group_size)
    return TopicPlan(selected, tuple(_renumber(group, selected) for group in groups))


def _thin(vectors: NDArray[np.float32], budget: int, metric: Metric) -> NDArray[np.int64]:
    if budget >= len(vectors):
        return np.arange(len(vectors))
    return np.sort(facility_location(vectors, budget, metric))


def _renumber(group: PairedGroup, selected: NDArray[np.int64]) -> PairedGroup:
    return PairedGroup(tuple(selected[list(group.members)].tolist()), group.similarity)
