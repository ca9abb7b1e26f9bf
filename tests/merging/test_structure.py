"""Lists and dictionaries printed where a row should have prose."""

from __future__ import annotations

import pytest

from mergeit_async.merging.structure import find_structure
from mergeit_async.records import Example, Row

SOURCE = Row("a", "Name two fruits.", "", "Apples and pears.", 0, 1)


def _found(output: str, instruction: str = "Name two fruits.", source: Row = SOURCE) -> str | None:
    return find_structure(Example(instruction, "", output), [source])


@pytest.mark.parametrize(
    "text",
    [
        "['apple', 'pear']",
        '["apple", "pear"]',
        "{'first': 'apple'}",
        '{"first": {"name": "apple"}}',
        '[{"name": "apple"}, {"name": "pear"}]',
        "[{name: 'apple'}]",
        "[apple, pear]",
        "[1, 2, 3]",
        "[[1, 2], [3, 4]]",
        "{}",
        "[ ]",
        "{empty}",
        "Two fruits: ['apple', 'pear', 'plum'].",
        "First ['apple', 'pear'] and then {'third': 'plum'}",
    ],
)
def test_a_printed_structure_is_found(text: str) -> None:
    assert _found(text) == "output"


@pytest.mark.parametrize(
    "text",
    [
        "Apples and pears.",
        "[Your name]\n\nDear all, here are apples, pears.\n\n[Signature]",
        "[Start] --> apples --> pears",
        "[Image of an apple]",
        "A set is written {a, b} and a list [a, b]; both hold two fruits, in some order.",
        "He said 'apples' [sic] and \"pears\".",
        "Use the key 'a' as in basket['a'], then go on to the next fruit until none is left over.",
        "",
    ],
)
def test_prose_with_brackets_is_no_structure(text: str) -> None:
    assert _found(text) is None


def test_a_structure_that_a_source_shows_is_no_defect() -> None:
    source = Row("b", "Sort.", "['pear', 'apple']", "['apple', 'pear']", 1, 2)

    assert _found("['apple', 'pear']", source=source) is None


@pytest.mark.parametrize(
    "instruction",
    [
        "Return the fruits as JSON.",
        "Print a Python list of two fruits.",
        "Output the fruits in a list.",
        "What does the code print?",
        "Given a list of fruits, sort it.",
    ],
)
def test_a_structure_that_the_instruction_asks_for_is_no_defect(instruction: str) -> None:
    assert _found("['apple', 'pear']", instruction) is None


@pytest.mark.parametrize(
    "text",
    [
        '["1. Apples", "2. Pears"]',
        '["Apples are sweet and round fruits."]',
        '{"fruits": "apples", "reason": "sweet"}',
    ],
)
def test_answers_packed_into_a_structure_are_found_though_a_list_is_asked_for(text: str) -> None:
    assert _found(text, "Generate a list of two fruits.") == "output"


def test_the_field_is_named() -> None:
    merged = Example("Name two fruits.", "{}", "Apples and pears.")

    assert find_structure(merged, [SOURCE]) == "input"
