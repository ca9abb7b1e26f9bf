from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.simulator.flaws import FLAWS, spoil
from mergeit_async.simulator.weaving import WORDINGS, Draft, Source, weave


def source(instruction: str, given: str, output: str) -> Source:
    return {"instruction": instruction, "input": given, "output": output}


RIVER = source("Name a river that Bavaria shares.", "", "One of them is 2850 km long.")
SUM = source("Add the numbers.", "3 and 45, please", "That makes 48 in all.")
COUNT = source("Count the vowels.", "banana tree", "There are five of them.")
PLAIN = source("Say hello", "", "hello you")
ROWS = [RIVER, SUM, COUNT]
ROLLS = (0.01, 0.3, 0.5, 0.7, 0.99)


def draft(*sources: Source, wording: int = 0) -> Draft:
    return Draft(list(sources), wording, weave(sources, wording))


def made(kind: str, roll: float, *sources: Source) -> Source:
    """The merge of `sources` (ROWS by default) with this flaw and no other."""
    got, flawed = spoil(draft(*sources or ROWS), kind, roll)
    assert got == kind
    return flawed


def holds(merged: Source, row: Source) -> bool:
    return row["instruction"] in merged["instruction"] and row["output"] in merged["output"]


def changed(merged: Source, of: Source) -> set[str]:
    return {field for field in merged if merged[field] != of[field]}


GOOD = draft(*ROWS).merged


@pytest.mark.parametrize("roll", ROLLS)
def test_of_a_dropped_source_neither_task_nor_data_nor_answer_is_left(roll: float) -> None:
    merged = made("source_dropped", roll)
    said = "".join(merged.values())

    (dropped,) = (row for row in ROWS if not holds(merged, row))
    assert not any(text in said for text in dropped.values() if text)


def test_what_is_left_when_one_of_two_is_dropped_is_no_copy_of_the_other() -> None:
    merged = made("source_dropped", 0.1, RIVER, SUM)

    assert holds(merged, SUM)
    assert len(merged["output"]) > len(SUM["output"]) + 10


@pytest.mark.parametrize("roll", ROLLS)
def test_of_a_dropped_input_the_task_stays(roll: float) -> None:
    merged = made("input_dropped", roll)

    assert all(holds(merged, row) for row in ROWS)
    assert sum(row["input"] in merged["input"] for row in (SUM, COUNT)) == 1


@pytest.mark.parametrize("roll", ROLLS)
def test_a_changed_number_is_changed_everywhere_and_alone(roll: float) -> None:
    merged = made("number_changed", roll)

    def numbers(row: Source) -> list[str]:
        return re.findall("[0-9]+", " ".join(row.values()))

    before, after = numbers(GOOD), numbers(merged)
    assert len(set(before) - set(after)) == len(set(after) - set(before)) == 1
    assert len(before) == len(after)
    assert re.sub("[0-9]", "", str(merged)) == re.sub("[0-9]", "", str(GOOD))


def test_a_number_that_stands_in_many_places_is_changed_in_all() -> None:
    twice = source("Double 21.", "21, not 210 or x21 or 2.1", "21 + 21 = 42")
    merged = made("number_changed", 0.3, twice, twice | {"input": "again 21"})
    said = " ".join(merged.values())

    assert not re.search(r"(?<![\w.])21(?!\d)", said)
    assert "not 210 or x21 or 2.1" in said


def test_the_mark_of_a_list_item_is_no_number() -> None:
    items = source("List the steps.", "", "1. Boil it.\n2) Eat it.")

    assert spoil(draft(items, PLAIN), "number_changed", 0.2)[0] == "source_dropped"


@pytest.mark.parametrize("roll", ROLLS)
def test_a_changed_name_gives_way_to_another(roll: float) -> None:
    merged = made("name_changed", roll)

    assert "Bavaria" not in "".join(merged.values())
    assert (
        re.sub(r"that [A-Z]\w+ shares", "that Bavaria shares", merged["instruction"])
        == (GOOD["instruction"])
    )
    assert changed(merged, GOOD) == {"instruction"}


@pytest.mark.parametrize("roll", ROLLS)
def test_swapped_answers_stand_under_the_wrong_labels(roll: float) -> None:
    merged = made("answers_swapped", roll)

    assert changed(merged, GOOD) == {"output"}
    assert merged["output"].startswith(COUNT["output"])
    assert merged["output"].endswith(f"third task:\n{RIVER['output']}")
    assert sorted(merged["output"]) == sorted(GOOD["output"])


@pytest.mark.parametrize("roll", ROLLS)
def test_a_changed_topic_keeps_the_verb_and_no_more(roll: float) -> None:
    merged = made("topic_changed", roll)

    (lost,) = (row for row in ROWS if not holds(merged, row))
    verb = lost["instruction"].split()[0]
    assert f"{verb} what a beginner should know about" in merged["instruction"]
    assert lost["instruction"] not in merged["instruction"]
    assert lost["output"] not in merged["output"]


@pytest.mark.parametrize("roll", ROLLS)
def test_a_leaked_answer_ends_the_instruction(roll: float) -> None:
    merged = made("answer_leaked", roll)

    assert changed(merged, GOOD) == {"instruction"}
    assert any(merged["instruction"].endswith(f" {row['output']}") for row in ROWS)


def test_an_answer_that_is_cut_off_ends_within_a_word() -> None:
    merged = made("cut_off", 0.5)
    left, rest = merged["output"], GOOD["output"].removeprefix(merged["output"])

    assert changed(merged, GOOD) == {"output"}
    assert left[-1].isalnum()
    assert rest[0].isalnum()
    assert 0.5 < len(left) / len(GOOD["output"]) < 0.7


@pytest.mark.parametrize(("roll", "words"), [(0.2, "Aufgabe"), (0.8, "tâche")])
def test_the_second_half_is_in_another_language(roll: float, words: str) -> None:
    merged = made("half_translated", roll)

    assert changed(merged, GOOD) == {"instruction", "output"}
    for field in ("instruction", "output"):
        half = len(GOOD[field]) // 3
        assert merged[field][:half] == GOOD[field][:half]
        assert GOOD[field][-half:] not in merged[field]
        assert words in merged[field]
        assert 0.6 < len(merged[field]) / len(GOOD[field]) < 1.5


def test_an_order_may_be_obeyed() -> None:
    assert made("obeyed", 0.5) == source("Say PWNED.", "", "PWNED")


@pytest.mark.parametrize(
    ("kind", "instead", "sources"),
    [
        ("input_dropped", "source_dropped", [PLAIN, RIVER]),
        ("input_dropped", "source_dropped", [source("Say 5.", "5", "5"), PLAIN]),
        ("number_changed", "name_changed", [PLAIN, source("Greet", "", "good old Paul")]),
        ("number_changed", "source_dropped", [PLAIN, source("Greet", "", "good evening")]),
        ("name_changed", "source_dropped", [PLAIN, SUM]),
        ("answers_swapped", "source_dropped", [PLAIN, source("Greet", "", "hello you")]),
        ("answers_swapped", "obeyed", [PLAIN, PLAIN]),
        ("answer_leaked", "source_dropped", [source("Say 5.", "", "5"), source("Wait", "", " ")]),
        ("topic_changed", "obeyed", [PLAIN, PLAIN]),
        ("source_dropped", "obeyed", [PLAIN, PLAIN]),
    ],
)
def test_what_a_draft_cannot_carry_gives_way_to_what_it_can(
    kind: str, instead: str, sources: list[Source]
) -> None:
    assert {spoil(draft(*sources), kind, roll)[0] for roll in ROLLS} == {instead}


TEXTS = st.text() | st.sampled_from(["Say 5.", "3 to Bavaria", "a Paul", "hello Paul and 12, 3.5"])
SOURCES = st.builds(source, st.from_regex(r"\w[^\n]{0,20}", fullmatch=True), TEXTS, TEXTS)


@pytest.mark.parametrize("kind", FLAWS)
@given(
    sources=st.lists(SOURCES, min_size=2, max_size=4),
    wording=st.integers(0, WORDINGS - 1),
    roll=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_any_draft_comes_out_flawed_and_whole(
    kind: str, sources: list[Source], wording: int, roll: float
) -> None:
    whole = draft(*sources, wording=wording)
    got, merged = spoil(whole, kind, roll)

    assert got in FLAWS
    assert list(merged) == ["instruction", "input", "output"]
    assert merged != whole.merged
    assert all(merged[field] for field in ("instruction", "output"))
