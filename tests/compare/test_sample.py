"""The groups on which arms are compared."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.compare.arm_merger import place_of, take_turns
from mergeit_async.compare.sample import sample_groups
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic

NONE = np.zeros(0, np.int64)


def plan(*sizes: int) -> list[PlannedTopic]:
    topics, position = [], 0
    for topic, size in enumerate(sizes):
        groups = tuple(PlannedGroup(position + at, topic, (0, 1), 0.9) for at in range(size))
        topics.append(PlannedTopic(topic, position, NONE, NONE, groups))
        position += size
    return topics


sizes = st.lists(st.integers(0, 40), min_size=1, max_size=12)


@given(sizes, st.integers(1, 60), st.integers(0, 5))
def test_each_group_is_drawn_once_at_most_and_all_where_there_are_few(sizes, wanted, seed):
    sample = sample_groups(plan(*sizes), wanted, seed)
    assert len(sample) == min(wanted, sum(sizes))
    assert len({group.position for group in sample}) == len(sample)


@given(sizes, st.integers(1, 30), st.integers(0, 30))
def test_a_larger_sample_begins_with_the_smaller(sizes, few, more):
    small, large = sample_groups(plan(*sizes), few, 1), sample_groups(plan(*sizes), few + more, 1)
    assert large[: len(small)] == small


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.integers(1, 100))
def test_topics_have_their_share_of_the_sample(sizes, wanted):
    counts = Counter(group.topic for group in sample_groups(plan(*sizes), wanted, 3))
    share = min(1.0, wanted / sum(sizes))
    for topic, size in enumerate(sizes):
        # Evenly spaced within each topic: never further off than one group, and one for the end.
        assert abs(counts[topic] - share * size) <= len(sizes) + 1


def test_another_seed_draws_other_groups():
    assert sample_groups(plan(50, 50), 10, 1) != sample_groups(plan(50, 50), 10, 2)


def test_arms_take_turns_and_each_is_first_as_often():
    groups = [group for topic in plan(6) for group in topic.groups]
    turns = [[group.position for group in topic.groups] for topic in take_turns(groups, 3)]
    assert [
        [place_of(arm, at) for arm in ((at + turn) % 3 for turn in range(3))] for at in range(6)
    ] == turns
    first = Counter(positions[0] // place_of(1, 0) for positions in turns)
    assert first == {0: 2, 1: 2, 2: 2}
