"""Outputs that break off."""

from __future__ import annotations

import pytest

from mergeit_async.merging.ending import measure_break
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.units import read_field

SOURCES = (
    "Plants take up water through their roots and release it through tiny pores in the leaves.",
    "The town has banned cars, and residents praise the quiet of the evening.",
)


SOURCES_OF_UNITS = ("3.2 kilometres are 3,200 metres.", "Times 60 that makes 165 minutes.")


def _measure(output: str, *sources: str) -> float:
    field = read_field(output)
    outputs = [read_field(text) for text in sources or SOURCES]
    return measure_break(field, outputs, Vocabulary(field.vocabulary))


@pytest.mark.parametrize(
    "output",
    [
        f"{SOURCES[1]} {SOURCES[0][:70]}",
        f"{SOURCES[1]} {SOURCES[0][:60]},",
        f"{SOURCES[0]} {SOURCES[1][:40]}",
        f"{SOURCES[1]}\nThe roots of plants take up the water, they say, and",
        f"{SOURCES[0]} The resid",
    ],
)
def test_an_output_that_stops_in_the_middle_is_noticed(output: str) -> None:
    assert _measure(output) > 0.5


def test_an_output_that_ends_as_its_sources_do_is_whole() -> None:
    assert _measure(" ".join(SOURCES)) == 0.0


def test_a_program_that_stops_after_an_operator_breaks_off() -> None:
    source = "def largest(a, b):\n    if b > a:\n        return b\n    return a"

    assert _measure("def largest(a, b):\n    if b >", source) > 0.5
    assert _measure(source, source) == 0.0


def test_a_short_unit_behind_a_number_ends_an_output() -> None:
    assert _measure("3.2 km = 3,200 m\n2.75 h = 165 min", *SOURCES_OF_UNITS) == 0.0


def test_a_list_that_stops_after_a_number_is_noticed() -> None:
    items = "1. Knife\n2. Board\n3. Pan\n4. Bowl"

    assert _measure("1. Knife 2. Board 3.", items, items) > 0.5
    assert _measure("1. Knife 2. Board 3. Pan 4. Bowl", items, items) == 0.0


def test_an_open_bracket_is_noticed_unless_a_source_leaves_one_open() -> None:
    assert _measure("print(total", "print(total)", "x = 1") > 0.5
    assert _measure(":( and print(total)", ":(", "print(total)") == 0.0


def test_lines_without_full_stops_may_end_without_one() -> None:
    assert _measure("Synonyms: glad, merry\nAntonyms: sad", "Glad and merry.", "Sad.") == 0.0


def test_an_empty_output_is_left_to_the_structural_gate() -> None:
    assert _measure("") == 0.0


ADVICE = (
    "The most common ones are: addressing the letter to nobody, simply repeating the CV, and "
    "leaving small errors in the text. Avoid all of these and you will be fine."
)


def test_the_items_of_a_list_may_end_without_a_full_stop() -> None:
    items = "Avoid:\n- simply repeating the CV\n- leaving small errors in the text"

    assert _measure(items, ADVICE) == 0.0
    assert _measure(items.removesuffix(" in the text"), ADVICE) > 0.5
    assert _measure(items.replace("CV\n- ", "CV.\n"), ADVICE) > 0.5
