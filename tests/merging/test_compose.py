"""The keyless composition: everything kept, nothing refused, the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.ids import row_id
from mergeit_async.merging.compose import compose
from mergeit_async.merging.gate import check_merge
from mergeit_async.records import Example, Row

ALPACA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "alpaca_17k.jsonl"


def _row(instruction: str, input: str, output: str, at: int = 0) -> Row:
    example = Example(instruction, input, output)
    return Row(row_id(example, 0), instruction, input, output, at, at + 1)


TRANSLATE = _row("Translate into French.", "The cat sleeps.", "Le chat dort.")
COUNT = _row("Count to three.", "", "1. one\n2. two\n3. three")
VERB = _row("Find the verb.", "Birds sing.", "sing")


def test_parts_are_labelled_alike_in_all_three_fields() -> None:
    merged = compose([TRANSLATE, COUNT, VERB])

    assert (
        "\n\nPart 1: Translate into French.\n\nPart 2: Count to three.\n\nPart 3: Find the verb."
        in (merged.instruction)
    )
    assert merged.input == "Part 1:\nThe cat sleeps.\n\nPart 3:\nBirds sing."
    assert merged.output == (
        "Part 1:\nLe chat dort.\n\nPart 2:\n1. one\n2. two\n3. three\n\nPart 3:\nsing"
    )


def test_the_number_of_parts_is_spelled_out_up_to_nine() -> None:
    rows = [_row(f"Say {number}.", "", f"It is {number}.") for number in range(10)]

    assert " two " in compose(rows[:2]).instruction.split("\n")[0]
    assert " nine " in compose(rows[:9]).instruction.split("\n")[0]
    assert " 10 " in compose(rows).instruction.split("\n")[0]


def test_no_input_is_spoken_of_where_no_source_has_one() -> None:
    other = _row("Count to two.", "", "1, 2")

    merged = compose([COUNT, other])

    assert merged.input == ""
    assert "input" not in merged.instruction
    assert "material" not in merged.instruction


def test_a_label_of_a_source_is_not_used_again() -> None:
    merged = compose([_row("Do both.", "", "Part 1: a\nPart 2: b"), COUNT])

    assert "Question 1: Do both." in merged.instruction
    assert merged.output.startswith("Question 1:\nPart 1: a")


def test_equal_rows_compose_to_equal_text_and_the_wording_varies_between_rows() -> None:
    pairs = [(TRANSLATE, _row(f"Say {number}.", "", f"{number}.")) for number in range(60)]

    first = [compose(pair) for pair in pairs]
    leads = {merged.instruction.split("\n")[0] for merged in first}

    assert first == [compose(pair) for pair in pairs]
    assert len(leads) >= 8


def _keeps_everything(sources: list[Row]) -> None:
    merged = compose(sources)
    for row in sources:
        assert row.instruction in merged.instruction
        assert row.input in merged.input
        assert row.output in merged.output
    assert check_merge(merged, sources) is None


TEXT = st.text(min_size=1).map(str.strip).filter(len)
# Halves of what the gate refuses: the composition must not join them across sources.
# fmt: off
TRICKY = st.sampled_from([
    "Part 1:", "[", "]", "{'a': ", "}", "['a', ", "'b']", "[1", ", 2]", "Output:", "Example 1:",
    "```", "...", "\n", " ", "[insert", "<input", ">", "TODO", "merged ", "instruction",
    "same as ", "above", "x",
])
# fmt: on
FIELD = TEXT | st.lists(TRICKY, min_size=1).map("".join).map(str.strip).filter(len)
ROWS = st.lists(
    st.builds(_row, FIELD, FIELD | st.just(""), FIELD),
    min_size=2,
    max_size=4,
    unique_by=lambda r: r.id,
)


@given(ROWS)
def test_every_field_survives_word_for_word_and_the_gate_agrees(sources: list[Row]) -> None:
    _keeps_everything(sources)


def test_two_thousand_pairs_of_alpaca_rows_compose_without_loss() -> None:
    if not ALPACA.exists():
        pytest.skip("the data set alpaca_17k.jsonl is not beside the repository")
    records = [json.loads(line) for line in ALPACA.read_text(encoding="utf-8").splitlines()[:4200]]
    rows = [
        _row(record["instruction"].strip(), record["input"].strip(), record["output"].strip(), at)
        for at, record in enumerate(records)
        if record["output"].strip()
    ]

    for at in range(0, 4000, 2):
        _keeps_everything(rows[at : at + 2])
