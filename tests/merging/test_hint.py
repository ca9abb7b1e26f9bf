from __future__ import annotations

import pytest

from mergeit_async.merging.hint import find_added, find_remark, tells_answer
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.units import read_field

ASKED = read_field("What is the main ingredient of hummus? (Be brief.)")
KNOWN = Vocabulary(ASKED.vocabulary)


def remark_in(question: str) -> str:
    return find_remark([read_field(question)], [ASKED], KNOWN, {"chickpeas"})


def test_a_remark_in_brackets_that_no_source_makes_is_found() -> None:
    assert remark_in("Name the ingredient of hummus (the legume also called garbanzo).") == (
        "the legume also called garbanzo"
    )


def test_a_single_word_is_a_remark_where_an_answer_has_it() -> None:
    assert remark_in("What is the main ingredient (chickpeas) of hummus?") == "chickpeas"


@pytest.mark.parametrize(
    "question",
    [
        "What is the main ingredient of hummus? (Be brief.)",
        "What is the main (best) ingredient of hummus?",
        "What is in hummus (the main ingredient of it)?",
        "(1) What is hummus? (2) What is its main ingredient?",
    ],
)
def test_what_sources_say_and_what_is_one_word_is_no_remark(question: str) -> None:
    assert remark_in(question) == ""


def test_words_that_were_added_to_material_are_told_from_the_names_of_its_parts() -> None:
    given = "Gas: colourless, lighter than air, fills balloons"
    known = Vocabulary(read_field("colourless, lighter than air, fills balloons").vocabulary)
    assert find_added(read_field(given), known) == []
    hinted = f"{given}; second-lightest element, Greek word for sun"
    assert find_added(read_field(hinted), known) == [
        "element",
        "greek",
        "word",
        "sun",
    ]


@pytest.mark.parametrize(
    ("remark", "is_told"),
    [
        ("chickpeas", True),
        ("the chickpeas", True),
        ("garbanzo", False),
        ("called chickpeas", False),
    ],
)
def test_a_remark_tells_an_answer_if_all_that_is_new_in_it_are_words_of_one(
    remark: str, is_told: bool
) -> None:
    assert tells_answer(remark, KNOWN, {"chickpeas"}) == is_told


def test_what_a_labelled_part_is_called_is_no_remark() -> None:
    assert remark_in("A (chickpeas): 1, 2\nB (beans): 3, 4") == ""
