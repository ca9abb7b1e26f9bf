from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.records import Example
from mergeit_async.simulator.weaving import WORDINGS, find_sources, weave

RIVER = Example("Name a river in France", "", "The Loire.")
SUM = Example("Add the numbers.", "3 and 4", "7")
CODE = Example(
    'Explain "{x}" in Python?', "print({1: 2})", 'A dict: {"instruction": 1}\nSee above.'
)

EXAMPLES = st.builds(
    Example, st.from_regex(r"\w[^\n]{0,20}", fullmatch=True), st.text(), st.text(min_size=1)
)


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_found_wherever_they_stand(indent: int | None) -> None:
    first, second, third = (json.dumps(asdict(row), indent=indent) for row in (RIVER, SUM, CODE))
    prompt = (
        f'Merge {{these}} rows:\n<row>{first}</row>\n{{"rows": [{second}, {third}]}} {{"a": 1}} {{'
    )

    assert find_sources(prompt) == [RIVER, SUM, CODE]


@given(st.lists(EXAMPLES, max_size=4), st.text())
def test_rows_survive_the_way_through_a_prompt(rows: list[Example], between: str) -> None:
    # Braces before a row could make it part of another object.
    filler = between.translate({ord(character): None for character in '{}[]"\\'})
    prompt = filler.join(json.dumps(asdict(row)) for row in rows)

    assert find_sources(prompt) == [row for row in rows if any(map(str.isalnum, row.instruction))]


@pytest.mark.parametrize(
    "text",
    [
        '{"instruction": "...", "input": "...", "output": "..."}',
        '{"instruction": "Add."}',
        '{"instruction": ["Add."], "output": "7"}',
        '{"instruction": "Add.", "output": {"a": 7}}',
        "no rows at all {",
        "[" * 100_000 + "{" + '{"a":' * 500,
    ],
)
def test_what_is_no_row_is_not_found(text: str) -> None:
    assert find_sources(text) == []


@pytest.mark.parametrize("wording", range(WORDINGS))
def test_every_wording_keeps_all_texts_and_adds_words_of_its_own(wording: int) -> None:
    merged = weave([RIVER, SUM, CODE], wording)

    for row in (RIVER, SUM, CODE):
        assert row.instruction in merged.instruction
        assert row.input in merged.input
        assert row.output in merged.output
    assert len(merged.instruction) > sum(len(row.instruction) for row in (RIVER, SUM, CODE)) + 40


def test_rows_without_inputs_need_none_when_merged() -> None:
    assert weave([RIVER, RIVER], 0).input == ""


def test_more_rows_than_ordinals_can_be_woven() -> None:
    merged = weave([SUM] * 12, 5)

    assert merged.input.count("3 and 4") == 12
