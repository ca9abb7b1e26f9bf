"""The gate on single defects, on the published set, and on rows as their own sources."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.merging import gate
from mergeit_async.merging.gate import check_merge
from mergeit_async.merging.parse import FIELDS
from mergeit_async.records import Example, Row

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
# In the published file the merged rows come first; the rest are unchanged Alpaca rows.
N_MERGED = 1219

SOURCES = (
    Row("a", "Translate the sentence into French.", "The cat sleeps.", "Le chat dort.", 0, 1),
    Row("b", "Find the verb of the sentence.", "Birds sing at dawn.", "sing", 1, 2),
)
GOOD = Example(
    "Translate the first sentence into French and find the verb of the second.",
    "First: The cat sleeps.\nSecond: Birds sing at dawn.",
    "The first sentence is: Le chat dort.\nThe verb of the second sentence is: sing",
)


def _merged(**changes: str) -> Example:
    fields = {"instruction": GOOD.instruction, "input": GOOD.input, "output": GOOD.output}
    return Example(**(fields | changes))


def _reason(merged: Example, *more: Row) -> str | None:
    refusal = check_merge(merged, (*SOURCES, *more))
    return refusal.reason if refusal else None


def _source(text: str) -> Row:
    return Row("c", f"Explain this: {text}", "", text, 2, 3)


def _rows(file: str) -> list[dict[str, Any]]:
    if not (DATA / file).exists():
        pytest.skip(f"the data set {file} is not beside the repository")
    text = (DATA / file).read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        json.loads(text) if file.endswith(".json") else [json.loads(r) for r in text.splitlines()]
    )
    return rows


def _example(row: dict[str, Any]) -> Example:
    return Example(row["instruction"], row["input"], row["output"])


def _self(row: dict[str, Any]) -> Row:
    return Row("self", row["instruction"], row["input"], row["output"], 0, 1)


def test_a_good_merge_passes() -> None:
    assert check_merge(GOOD, SOURCES) is None


@pytest.mark.parametrize("field", ["instruction", "output"])
def test_an_empty_field_is_refused(field: str) -> None:
    assert _reason(_merged(**{field: " \n"})) == f"empty_{field}"


def test_a_merge_may_have_no_input() -> None:
    assert _reason(_merged(input="")) is None


@pytest.mark.parametrize("field", ["instruction", "input", "output"])
def test_a_printed_structure_is_refused_and_told(field: str) -> None:
    refusal = check_merge(_merged(**{field: "['The cat sleeps.', 'Birds sing.']"}), SOURCES)

    assert refusal is not None
    assert refusal.reason == "printed_structure"
    assert field in refusal.detail
    assert "The cat sleeps." in refusal.detail


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("instruction", "Example 1: Translate.\nExample 2: Find the verb."),
        ("instruction", "Do both.\nTask 2: Find the verb."),
        ("instruction", "Instruction: Translate and find the verb."),
        ("instruction", "**Merged instruction:** Translate and find the verb."),
        ("instruction", "Follow both instructions."),
        ("input", "Input: The cat sleeps. Birds sing at dawn."),
        ("input", "<source_row>The cat sleeps."),
        ("output", "Output: Le chat dort. sing"),
        ("output", "Task 1: Le chat dort.\nTask 2: sing"),
        ("output", "The merged example follows.\nLe chat dort."),
        ("output", "Le chat dort, as the source row says."),
    ],
)
def test_labels_of_the_rows_shown_are_refused_unless_a_source_has_them(
    field: str, text: str
) -> None:
    merged = _merged(**{field: text})

    assert _reason(merged) == "example_leak"
    assert _reason(merged, _source(text)) is None


def test_an_instruction_may_number_its_parts_as_tasks() -> None:
    asked = "Task 1: Translate the sentence into French.\nTask 2: Find the verb of the sentence."
    answered = "Task 1:\nLe chat dort.\n\nTask 2:\nsing"

    assert _reason(_merged(instruction=asked, output=answered)) is None
    assert _reason(_merged(instruction=asked.replace("Task 1: ", ""))) == "example_leak"
    assert _reason(_merged(instruction=f"{asked}\nExample 1: as above")) == "example_leak"


MADE, KINDS = ("merged", "combined"), ("instruction", "example", "task")
COUNTED = ("both", "two", "first", "second", "original")
PHRASES = [
    *(f"Mind the {made} {kind}s." for made in MADE for kind in KINDS),
    *(f"Mind the Source {kind}." for kind in ("instruction", "example", "row")),
    *(f"Mind {which} instructions." for which in COUNTED),
    *(f"Mind {which} source instructions." for which in COUNTED),
    *(f"Do it.\n\n- {which}instruction # :" for which in ("", "new ", "final ", "merged ")),
    *(f"Do it.\n** {made} {field}:" for made in MADE for field in ("input", "output", "response")),
    *(f"Do it.\n{label.upper()} #3." for label in (*FIELDS[1:], "row", "prompt", "example")),
]


@pytest.mark.parametrize("text", PHRASES)
def test_every_phrase_of_the_merging_itself_is_seen(text: str) -> None:
    assert _reason(_merged(instruction=text)) == "example_leak"


def test_an_answer_may_number_what_the_instruction_asks_for() -> None:
    merged = _merged(
        instruction="Translate the sentence, find the verb and give two examples of verbs.",
        output="Le chat dort. The verb is sing.\nExample 1: run\nExample 2: jump",
    )

    assert _reason(merged) is None


@pytest.mark.parametrize(
    "text",
    [
        "The sentence is [insert sentence].",
        "<input>",
        "Le chat dort. TODO",
        "Same as above",
        "sing, the same as the first output",
        "Le chat dort.\n...\nsing",
        "…",
        "Le chat dort. [...]",
        "Le chat dort. (rest of the text)",
    ],
)
@pytest.mark.parametrize("field", ["input", "output"])
def test_a_placeholder_is_refused_unless_a_source_has_it(field: str, text: str) -> None:
    merged = _merged(**{field: text})

    assert _reason(merged) == "placeholder"
    assert _reason(merged, _source(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Dear [Your Name], le chat dort... sing!",
        "Write a TODO list: le chat dort, sing.",
        "He was never the same as before; le chat dort.",
        'Use <input type="text"> and print(*args) and (x, y).',
        "Instructions:\n1. Translate.\n2. Find the verb.",
        "It resembles other examples: example 1 is long.",
        "def f():\n    return 'le chat dort'\n\n# Output\n12",
    ],
)
def test_ordinary_text_passes(text: str) -> None:
    assert _reason(_merged(output=text)) is None


def test_a_field_in_one_code_fence_is_refused_unless_a_source_has_fences() -> None:
    merged = _merged(output="```\nLe chat dort. sing\n```")

    assert _reason(merged) == "fence"
    assert _reason(merged, _source("```\nx\n```")) is None


@pytest.mark.parametrize(
    "merged",
    [
        Example("Translate the sentence into French.", "The cat sleeps.", "Le chat dort."),
        Example(" translate  the sentence\ninto FRENCH.", "Birds sing at dawn.", "le chat dort."),
        Example("Please translate the sentence into French!", "the cat sleeps", "Le chat dort"),
        Example("Translate the sentence into French: The cat sleeps.", "", "Le chat dort."),
    ],
)
def test_a_merge_that_is_one_of_its_sources_is_refused(merged: Example) -> None:
    refusal = check_merge(merged, SOURCES)

    assert refusal is not None
    assert refusal.reason == "copy_of_source"
    assert "source row 1 alone" in refusal.detail


def test_a_short_second_source_is_not_a_trivial_change() -> None:
    short = Row("d", "Spell it.", "", "cat", 3, 4)
    merged = Example(
        "Translate the sentence into French and spell it.", "The cat sleeps.", "Le chat dort. cat"
    )

    assert check_merge(merged, [SOURCES[0], short]) is None


def test_another_answer_to_the_same_instruction_is_no_copy() -> None:
    merged = Example("Find the verb of the sentence.", "Birds sing at dawn.", "It is to sing.")

    assert check_merge(merged, SOURCES) is None


def test_signs_alone_do_not_make_a_copy() -> None:
    assert check_merge(Example("+", "", "-"), [Row("e", "*", "", "/", 0, 1)]) is None


@pytest.mark.parametrize(
    "unit",
    ["[", "{", "[ ", '["', '["a", ', "{'a': ", "[1, ", "[a, ", ".", "...\n", "(insert ", "'a b "],
)
def test_long_hostile_text_is_read_in_bounded_time(unit: str) -> None:
    text = unit * (100_000 // len(unit))

    refusal = check_merge(_merged(input=f"{text}x]", output=f"[{text}"), [_source(text)])

    assert refusal is None or refusal.reason in {"placeholder", "printed_structure"}


PATTERNS = (gate._LEAK, gate._NUMBERED, gate._NAMED, gate._PLACEHOLDER, gate._OMISSION)
DEFECTS = st.one_of([st.from_regex(pattern) for pattern in PATTERNS]) | st.just("```\nx\n```")
# Letters that regular expressions take for others without regard to case.
SPELT = st.sampled_from(["aa", "iı", "iİ", "sſ", "k\u212a", " \u0345"])


@settings(max_examples=300, deadline=None)
@given(DEFECTS, SPELT, st.sampled_from(FIELDS))
def test_whatever_the_patterns_find_in_a_field_shows_in_the_whole_row(
    text: str, spelt: str, field: str
) -> None:
    merged = _merged(**{field: text.replace(spelt[0], spelt[1])})

    found = list(gate._find_field_defects(field, merged, ()))

    joined = gate._join(merged)
    assert gate._is_suspect(joined, joined.casefold()) or not found


def test_casefold_is_what_regular_expressions_ignore_but_for_letters_that_are_named() -> None:
    letter, sign = re.compile("[a-z]", re.IGNORECASE), re.compile(r"\W")
    every = [chr(code) for code in range(sys.maxunicode + 1)]

    unlike = {c for c in every if letter.match(c) and c.casefold() not in ascii_lowercase}
    unlike |= {c for c in every if sign.match(c) and not sign.fullmatch(c.casefold())}

    assert unlike == set(gate._UNFOLDABLE)


@pytest.mark.parametrize("file", ["alpaca_17k.jsonl", "code_alpaca_2k.json"])
def test_a_row_that_is_its_own_source_is_only_a_copy(file: str) -> None:
    reasons = Counter(
        refusal.reason if refusal else None
        for row in _rows(file)
        for refusal in [check_merge(_example(row), [_self(row)])]
    )

    assert reasons.keys() == {"copy_of_source"}


@pytest.mark.parametrize("file", ["alpaca_17k.jsonl", "code_alpaca_2k.json"])
def test_nothing_that_a_source_has_is_held_against_its_merge(file: str) -> None:
    more = " Also compare it briefly with whatever you consider its closest relative."
    refused = [
        refusal
        for row in _rows(file)
        if row["output"].strip()
        for merged in [Example(row["instruction"] + more, row["input"], row["output"])]
        if (refusal := check_merge(merged, [_self(row)]))
    ]

    assert refused == []


@pytest.mark.parametrize(
    ("file", "most"), [("alpaca_17k.jsonl", 0.009), ("code_alpaca_2k.json", 0.012)]
)
def test_ordinary_rows_are_seldom_refused_even_without_any_source(file: str, most: float) -> None:
    rows = _rows(file)

    refused = sum(check_merge(_example(row), []) is not None for row in rows)

    assert refused <= most * len(rows)


def test_the_defects_of_the_published_set_are_found() -> None:
    merged = [_example(row) for row in _rows("mergeit_6k.json")[:N_MERGED]]
    opened = [row for row in merged if f"{row.input:1}"[0] in "[{" or f"{row.output:1}"[0] in "[{"]

    found = [row for row in opened if check_merge(row, [])]
    reasons = Counter(refusal.reason for row in merged if (refusal := check_merge(row, [])))

    assert len(opened) == 277
    assert len(found) >= 0.9 * len(opened)
    assert reasons["printed_structure"] >= 250
    assert reasons.total() <= len(found) + 15


def test_the_empty_rows_of_the_published_set_are_found() -> None:
    refusals = [check_merge(_example(row), []) for row in _rows("mergeit_6k.json")]

    assert (
        sum(refusal is not None and refusal.reason.startswith("empty_") for refusal in refusals)
        == 4
    )
