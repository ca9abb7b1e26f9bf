from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.compare.wording import write_number, write_p, write_points


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (1234567.0, "1,234,567"),
        (12.345, "12.3"),
        (-0.25, "-0.25"),
        (0.000456, "0.000456"),
        (1e-12, "1e-12"),
        (1e300, "1e+300"),
        (100.0, "100"),
    ],
)
def test_numbers_have_three_digits_that_count(value, words):
    assert write_number(value) == words


@given(st.floats(-1e307, 1e307))
def test_a_written_number_is_near_the_number(value):
    written = float(write_number(value).replace(",", ""))
    assert written == pytest.approx(value, rel=0.006, abs=1e-320)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (1e-9, "p < 0.0001"),
        (0.0004, "p = 0.0004"),
        (0.0312, "p = 0.031"),
        (0.3, "p = 0.3"),
        (0.999, "p = 1"),
        (1.0, "p = 1"),
    ],
)
def test_p_values_are_written_as_people_read_them(p, words):
    assert write_p(p) == words


def test_points_of_nothing_have_no_sign():
    assert (write_points(-0.0001), write_points(0.0625), write_points(-0.05)) == (
        "0",
        "6.2",
        "-5.0",
    )
