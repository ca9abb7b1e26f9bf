"""A plan of all rows, cut into its topics, as they are saved and handed over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.filtering.pair import PairedGroup
from mergeit_async.filtering.partition import split_labels
from mergeit_async.filtering.whole_plan import WholePlan


def cut_plan(
    plan: WholePlan, labels: NDArray[np.int32], rows: NDArray[np.int64]
) -> Iterator[PlannedTopic]:
    """The topics of `plan` in order; `rows` are the places of its rows in the row store."""
    groups = defaultdict[int, list[PairedGroup]](list)
    is_lent = np.zeros(len(labels), dtype=np.bool_)
    for group in plan.groups:
        topic = int(labels[group.members[0]])
        groups[topic].append(group)
        for member in group.members[1:]:
            is_lent[member] = labels[member] != topic
    position = 0
    for topic, members in enumerate(split_labels(labels)):
        planned = tuple(place_groups(groups[topic], topic, position, rows))
        selected, lent = members[plan.stays[members]], members[is_lent[members]]
        yield PlannedTopic(topic, position, rows[members], rows[selected], planned, rows[lent])
        position += len(planned)


def place_groups(
    groups: list[PairedGroup] | tuple[PairedGroup, ...],
    topic: int,
    position: int,
    rows: NDArray[np.int64],
) -> Iterator[PlannedGroup]:
    """Groups of a topic from `position` on, their members as places in the row store."""
    for offset, group in enumerate(groups):
        members = tuple(int(rows[member]) for member in group.members)
        yield PlannedGroup(position + offset, topic, members, group.similarity)
