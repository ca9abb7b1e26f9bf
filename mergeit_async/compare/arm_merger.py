"""Merges each group by each arm, in turn, so that whatever drifts in time hits all arms alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mergeit_async.engine.course import Course
from mergeit_async.engine.mergers import ChatMerger
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.records import Outcome

# In the journal of an A/B run, the groups of an arm lie this far from those of the next.
ARM_STRIDE = 2**40
NO_ROWS = np.zeros(0, np.int64)


class ArmDraft(NamedTuple):
    """A group at the beginning of its course through one arm."""

    merger: ChatMerger
    course: Course


class ArmMerger:
    """Sends each planned group to the merger of its arm; positions as of `place_of`."""

    def __init__(self, mergers: Sequence[ChatMerger]) -> None:
        self._mergers = mergers

    def draft(self, planned: PlannedGroup) -> ArmDraft:
        """A group with its first request by its arm."""
        merger = self._mergers[planned.position // ARM_STRIDE]
        return ArmDraft(merger, merger.draft(planned))

    async def merge(self, draft: ArmDraft) -> Outcome:
        """The outcome of a group by its arm, durable."""
        return await draft.merger.merge(draft.course)

    def stop(self, error: Exception) -> None:
        """Send nothing more by any arm."""
        for merger in self._mergers:
            merger.stop(error)


def place_of(arm: int, position: int) -> int:
    """Where the journal keeps what the `arm`-th arm made of the group at `position`."""
    return arm * ARM_STRIDE + position


def take_turns(groups: Sequence[PlannedGroup], n_arms: int) -> Iterator[PlannedTopic]:
    """Each group once for each arm, and another arm first for each group."""
    for at, group in enumerate(groups):
        turns = [(at + turn) % n_arms for turn in range(n_arms)]
        placed = tuple(group._replace(position=place_of(arm, group.position)) for arm in turns)
        yield PlannedTopic(group.topic, group.position, NO_ROWS, NO_ROWS, placed)


def all_at_once(groups: Sequence[PlannedGroup]) -> PlannedTopic:
    """Each group once, in the order of the sample."""
    return PlannedTopic(0, 0, NO_ROWS, NO_ROWS, tuple(groups))
