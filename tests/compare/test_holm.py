from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.compare.holm import correct_for_many

P_VALUES = st.lists(st.floats(0, 1), max_size=30)


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert correct_for_many([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_nothing_and_one_are_left_as_they_are():
    assert correct_for_many([]) == []
    assert correct_for_many([0.2]) == [0.2]


@given(P_VALUES)
def test_correction_keeps_the_order_and_never_lowers_a_p(values):
    corrected = correct_for_many(values)
    assert all(before <= after <= 1 for before, after in zip(values, corrected, strict=True))
    ordered = [corrected[at] for at in sorted(range(len(values)), key=values.__getitem__)]
    assert ordered == sorted(ordered)


@given(P_VALUES, st.floats(0, 1))
def test_one_more_test_lowers_no_p(values, another):
    before, after = correct_for_many(values), correct_for_many([*values, another])
    assert all(old <= new for old, new in zip(before, after[:-1], strict=True))


@given(st.permutations([0.001, 0.02, 0.02, 0.4, 1.0]))
def test_the_order_of_the_tests_does_not_matter(values):
    corrected = dict(zip(values, correct_for_many(values), strict=True))
    assert corrected == dict(zip([0.001, 0.02, 0.4, 1.0], [0.005, 0.08, 0.8, 1.0], strict=True))
