"""Names by their initials."""

from __future__ import annotations

import pytest

from mergeit_async.merging.acronym import find_renamed
from mergeit_async.merging.units import read_field


def renamed(ours: str, theirs: str) -> set[str]:
    return find_renamed([read_field(ours)], [read_field(theirs)])


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("wwii", "the end of the Second World War"),
        ("usa", "the United States of America"),
        ("dna", "what deoxyribo-nucleic acid is"),
        ("un", "a treaty of the United Nations"),
    ],
)
def test_initials_stand_for_the_words_they_begin(short: str, name: str) -> None:
    assert renamed(f"That is {short.upper()}.", name) == {short}


def test_words_stand_for_the_initials_that_a_source_has() -> None:
    assert renamed("The World Health Organization warns.", "The WHO warns.") == {
        "world",
        "health",
        "organization",
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("The UK voted.", "The United States voted."),
        ("In the UN.", "run up and then under nothing"),
        ("the wwii", "the second world war"),
    ],
)
def test_other_initials_and_small_letters_are_no_name_renamed(ours: str, theirs: str) -> None:
    assert renamed(ours, theirs) == set()
