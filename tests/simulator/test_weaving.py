from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.simulator.weaving import WORDINGS, find_sources, weave


def source(instruction: str, given: str, output: str) -> dict[str, str]:
    return {"instruction": instruction, "input": given, "output": output}


RIVER = source("Name a river in France", "", "The Loire.")
SUM = source("Add the numbers.", "3 and 4", "7")
CODE = source('Explain "{x}" in Python?', "print({1: 2})", 'A dict: {"instruction": 1}\nSee above.')

SOURCES = st.builds(
    source, st.from_regex(r"\w[^\n]{0,20}", fullmatch=True), st.text(), st.text(min_size=1)
)


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_found_wherever_they_stand(indent: int | None) -> None:
    first, second, third = (json.dumps(row, indent=indent) for row in (RIVER, SUM, CODE))
    prompt = (
        f'Merge {{these}} rows:\n<row>{first}</row>\n{{"rows": [{second}, {third}]}} {{"a": 1}} {{'
    )

    assert find_sources(prompt) == [RIVER, SUM, CODE]


@given(st.lists(SOURCES, max_size=4), st.text(), st.booleans())
def test_rows_survive_the_way_through_a_prompt(
    rows: list[dict[str, str]], between: str, alone: bool
) -> None:
    # Braces before a row could make it part of another object.
    filler = between.translate({ord(character): None for character in '{}[]"\\'})
    filler = f"\n{filler}\n" if alone else filler
    prompt = filler.join(json.dumps(row) for row in rows)

    found = find_sources(prompt)

    assert found == [row for row in rows if any(map(str.isalnum, row["instruction"]))]


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


def test_a_row_may_have_columns_of_its_own() -> None:
    assert find_sources(json.dumps(SUM | {"id": 3})) == [SUM]


@pytest.mark.parametrize("around", ["", "\n"])
def test_a_row_within_a_row_is_part_of_it(around: str) -> None:
    text = json.dumps(SUM | {"from": RIVER})

    assert find_sources(f"{around}{text}{around}") == [SUM]


def test_many_levels_around_a_long_list_are_not_read_for_each_of_them() -> None:
    text = '{"a":' * 900 + "[" + "1," * 200_000
    began_s = time.process_time()
    find_sources(text)

    assert (
        time.process_time() - began_s < 1
    )  # nine readings of it; nine hundred take ten times that


HOSTILE = {
    "open braces": "{",
    "objects never closed": '{"a":',
    "keys never closed": '{"',
    "lines that look like rows": '{"instruction": "Add.", "output":}\n',
    "levels within levels": '{"a":' * 300 + "1" + "}" * 300,
    "numbers without end": '{"a":' + "1" * 5000,
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def cpu_s(length: int) -> float:
        text = piece * (length // len(piece))
        began_s = time.process_time()
        find_sources(text)
        return time.process_time() - began_s

    # Ten times the text; a hundred times the work, were it quadratic.
    assert cpu_s(400_000) < 40 * max(cpu_s(40_000), 0.005)


@pytest.mark.parametrize("wording", range(WORDINGS))
def test_every_wording_keeps_all_texts_and_adds_words_of_its_own(wording: int) -> None:
    merged = weave([RIVER, SUM, CODE], wording)

    for row in (RIVER, SUM, CODE):
        assert all(row[field] in merged[field] for field in ("instruction", "input", "output"))
    said = sum(len(row["instruction"]) for row in (RIVER, SUM, CODE))
    assert len(merged["instruction"]) > said + 40


def test_rows_without_inputs_need_none_when_merged() -> None:
    assert weave([RIVER, RIVER], 0)["input"] == ""


def test_more_rows_than_ordinals_can_be_woven() -> None:
    merged = weave([SUM] * 12, 5)

    assert merged["input"].count("3 and 4") == 12
    assert merged["output"].count("next task") == 4
