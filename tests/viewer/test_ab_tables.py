"""An A/B run as text: numbers as people read them."""

from __future__ import annotations

import pytest

from mergeit_async.compare.power import foresee
from mergeit_async.engine.estimate import Estimate, Range
from mergeit_async.viewer.ab_tables import foresight_text, write_parameters, write_size


@pytest.mark.parametrize(
    ("value", "kind", "written"),
    [
        (0.0416, "binary", "+4.2"),
        (-0.0416, "preference", "−4.2"),
        (-2191.4, "continuous", "−2,191"),
        (0.000147, "ratio", "+0.000147"),
        (0.0, "binary", "0"),
        (None, "binary", "–"),
    ],
)
def test_a_difference_has_its_sign_and_the_unit_of_its_metric(value, kind, written):
    assert write_size(value, {"kind": kind}) == written


def test_parameters_are_written_as_an_arm_has_them():
    told = write_parameters({"temperature": 0.7, "max_output_tokens": 500})
    assert told == "?temperature=0.7&max_output_tokens=500"
    assert write_parameters({}) == ""


def test_too_few_groups_are_told_with_the_number_that_would_do():
    effort = Estimate(Range(1, 2), Range(1, 2), Range(1, 2), None, Range(1, 2))
    text = foresight_text(foresee(100, 6), effort, 2)
    assert "100 groups are too few" in text
    assert "--groups" in text
