"""Which groups of a plan an A/B run compares its arms on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic


def sample_groups(topics: Iterable[PlannedTopic], n_groups: int, seed: int) -> list[PlannedGroup]:
    """`n_groups` groups at most, of each topic in proportion to its share.

    A larger sample of the same plan and seed holds the smaller one and begins with it, so what was
    paid for a few groups counts when more are asked for.
    """
    random = np.random.default_rng(seed)
    places: list[float] = []
    groups: list[PlannedGroup] = []
    for topic in topics:
        size = len(topic.groups)
        # Each topic's groups lie evenly between 0 and 1, shuffled, from a random start on.
        places.extend((random.permutation(size) + random.random()) / max(size, 1))
        groups.extend(topic.groups)
    order = np.argsort(np.array(places), kind="stable")
    return [groups[at] for at in order[:n_groups]]
