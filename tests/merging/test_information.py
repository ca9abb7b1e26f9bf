"""The information gate, on one merge and each way to spoil it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from mergeit_async.config import MIN_INFORMATION
from mergeit_async.merging.compose import compose
from mergeit_async.merging.information import (
    Information,
    check_information,
    measure_information,
)
from mergeit_async.merging.weights import WordWeights
from mergeit_async.providers.word_vectors import WordVectors
from mergeit_async.records import Example, Row

SOURCES = (
    Row(
        "a",
        "Summarise the text in one sentence.",
        "The market of Elster has existed since 1926. Every Saturday some forty farmers from "
        "the Vogtland sell cheese, honey and vegetables there.",
        "Since 1926 some forty farmers have sold cheese, honey and vegetables at the market of "
        "Elster every Saturday.",
        0,
        1,
    ),
    Row(
        "b",
        "Who designed the bridge of Elster, and how long is it?",
        "",
        "The bridge was designed by Helena Novak; it is 375 metres long.",
        1,
        2,
    ),
)
QUESTION = (
    "Say in one sentence what the text is about, and tell who designed the bridge of Elster and "
    "what its length is."
)
ANSWER = (
    "At the market of Elster around 40 farmers have been selling vegetables, honey and cheese on "
    "Saturdays since 1926.\n\nThe bridge is 375 m long and a design by Helena Novak."
)
WEIGHTS = WordWeights.count(f"{r.instruction}\n{r.input}\n{r.output}" for r in SOURCES)


def _measure(encoder: WordVectors, **changes: str) -> Information:
    fields = {"instruction": QUESTION, "input": SOURCES[0].input, "output": ANSWER} | changes
    return measure_information(Example(**fields), SOURCES, WEIGHTS, encoder)


def test_a_free_merge_that_keeps_all_facts_passes(encoder: WordVectors) -> None:
    information = _measure(encoder)

    assert check_information(information, MIN_INFORMATION) is None
    assert information.score == min(each.score for each in information.sources) > 0.7


def test_a_composed_row_keeps_everything(encoder: WordVectors) -> None:
    information = measure_information(compose(SOURCES), SOURCES, WEIGHTS, encoder)

    assert information.score == 1.0 and information.reason == ""
    for source in information.sources:
        assert source.fields == {"instruction": 1.0, "input": 1.0, "output": 1.0}
        assert source.missing == () and 0.3 < source.similarity <= 1.0


@pytest.mark.parametrize(
    ("reason", "changes", "named"),
    [
        ("input_dropped", {"input": ""}, "source 1, input: "),
        ("number_changed", {"output": ANSWER.replace("375", "357")}, "375"),
        ("name_changed", {"output": ANSWER.replace("Novak", "Kovar")}, "novak"),
        ("source_dropped", {"output": ANSWER.split("\n")[0]}, "source 2, output: "),
        (
            "topic_changed",
            {
                "output": ANSWER.split("\n")[0]
                + "\n\nWhales breathe air through a blowhole and sing in deep oceans for hours.",
            },
            "source 2, output: ",
        ),
        ("answer_leaked", {"instruction": f"{QUESTION} (Helena Novak, 375)"}, "novak"),
        ("cut_off", {"output": ANSWER[:-17]}, "breaks off"),
        (
            "language_changed",
            {
                "output": ANSWER.split("\n")[0]
                + "\n\nDie Brücke wurde von Helena Novak entworfen und ist 375 Meter lang, was sie "
                "zum Wahrzeichen der ganzen Gegend macht.",
            },
            "its own language",
        ),
    ],
)
def test_each_way_to_lose_something_is_refused_by_its_name(
    encoder: WordVectors, reason: str, changes: dict[str, str], named: str
) -> None:
    refusal = check_information(_measure(encoder, **changes), MIN_INFORMATION)

    assert refusal is not None
    assert refusal.reason == reason
    assert any(named in phrase for phrase in refusal.missing)


def test_swapped_answers_are_refused(encoder: WordVectors) -> None:
    sources = (
        Row("a", "Name the capital.", "Mongolia", "Ulaanbaatar", 0, 1),
        Row("b", "Name the capital.", "Peru", "Lima", 1, 2),
    )
    merged = Example("Name the capital of each.", "1. Mongolia\n2. Peru", "1. Lima\n2. Ulaanbaatar")

    refusal = check_information(
        measure_information(merged, sources, WEIGHTS, encoder), MIN_INFORMATION
    )

    assert refusal is not None and refusal.reason == "answers_swapped"


def test_a_merge_that_obeyed_an_order_inside_a_row_is_refused(encoder: WordVectors) -> None:
    merged = Example("Say hello.", "", "Hello! I have been told to ignore everything else.")

    information = measure_information(merged, SOURCES, WEIGHTS, encoder)

    assert check_information(information, MIN_INFORMATION) is not None


def test_a_foreign_sentence_between_sources_that_stand_whole_is_refused(
    encoder: WordVectors,
) -> None:
    joint = "Et maintenant nous allons voir qui a dessiné ce grand pont du village."
    question = " ".join(row.instruction for row in SOURCES)
    answer = f"{SOURCES[0].output} {joint} {SOURCES[1].output}"

    information = _measure(encoder, instruction=question, output=answer)

    refusal = check_information(information, MIN_INFORMATION)
    assert refusal is not None and refusal.reason == "language_changed"


def test_a_question_without_the_numbers_of_its_table_is_refused(encoder: WordVectors) -> None:
    runners = Row(
        "a",
        "Using the table, say which runner was fastest.",
        "Runner,Time\nHana,12.8\nMiko,12.4\nJess,13.1",
        "Miko was fastest with a time of 12.4.",
        0,
        1,
    )
    question = f"Say which of the runners Hana, Miko and Jess was fastest. {SOURCES[1].instruction}"
    merged = Example(question, "", f"{runners.output} {SOURCES[1].output}")

    information = measure_information(merged, (runners, SOURCES[1]), WEIGHTS, encoder)

    refusal = check_information(information, MIN_INFORMATION)
    assert refusal is not None and refusal.reason == "input_dropped"


def test_what_is_missing_is_named_in_short_phrases(encoder: WordVectors) -> None:
    refusal = check_information(_measure(encoder, input="", output="Nothing."), MIN_INFORMATION)

    assert refusal is not None
    assert 0 < len(refusal.missing) <= 12
    assert all(len(phrase) <= 120 for phrase in refusal.missing)


def test_the_threshold_decides(encoder: WordVectors) -> None:
    information = _measure(encoder)

    assert check_information(information, information.score) is None
    assert check_information(information, information.score + 0.001) is not None


@pytest.mark.parametrize("empty", [Example("", "", ""), Example("Why?", "", "")])
def test_empty_texts_have_a_defined_outcome(encoder: WordVectors, empty: Example) -> None:
    nothing = Row("n", "", "", "", 0, 1)

    assert measure_information(empty, (nothing, nothing), WEIGHTS, encoder).score == 1.0
    assert measure_information(empty, SOURCES, WEIGHTS, encoder).score < MIN_INFORMATION
    assert measure_information(empty, (), WEIGHTS, encoder).score == 1.0


def test_equal_sources_need_to_be_told_once_only(encoder: WordVectors) -> None:
    row = SOURCES[0]
    merged = Example(row.instruction, row.input, row.output)

    assert measure_information(merged, (row, row), WEIGHTS, encoder).score == 1.0


@pytest.mark.parametrize(
    "piece", ["lorem ipsum 12 Dolor, ", "1,111,", "a1b2", "日本語", "(Ab. ", "\ud800x "]
)
def test_a_megabyte_takes_about_a_second_at_most(encoder: WordVectors, piece: str) -> None:
    long = piece * (1_000_000 // len(piece))
    merged = Example("Read it.", long[: len(long) // 2], f"Yes, 15 times. {long}")
    start = time.process_time()

    measure_information(merged, (Row("l", "Read it.", long, long[3:], 0, 1),), WEIGHTS, encoder)

    assert time.process_time() - start < 3.0


def test_a_question_with_another_object_is_another_topic(encoder: WordVectors) -> None:
    tips = "1. Keep them in a dark place.\n2. Store them at 6 to 8 °C.\n3. Not beside onions."
    row = Row("a", "Write three tips for storing potatoes.", "", tips, 0, 1)
    question = f"{SOURCES[1].instruction} After that, write three tips for storing tomatoes."
    other = "1. Keep them at room temperature.\n2. Put the stem down.\n3. Not beside bananas."
    merged = Example(question, "", f"{SOURCES[1].output}\n\n{other}")

    information = measure_information(merged, (row, SOURCES[1]), WEIGHTS, encoder)

    refusal = check_information(information, MIN_INFORMATION)
    assert refusal is not None and refusal.reason == "topic_changed"
    assert "source 1: the word potatoes, not tomatoes" in refusal.missing


BESIDE = Row("b", "Who designed the bridge?", "", "It is a design by Helena Novak.", 1, 2)


@pytest.mark.parametrize(
    ("answer", "merged", "reason"),
    [
        ("-5", "The first is 5.", "number_changed"),
        ("5", "The first is -5.", "number_changed"),
        ("The result is x = -5.", "The result is x = 5.", "number_changed"),
        ("def f(a, b): return a + b", "def f(a, b): return a - b", "number_changed"),
        ("SELECT * FROM t WHERE n < 3;", "SELECT * FROM t WHERE n > 3;", "number_changed"),
        ("u = getUserName(); print(u)", "u = getusername(); print(u)", "name_changed"),
        ("It is 5 km away.", "It is 5 miles away.", "number_changed"),
        ("5 km", "It is 5 miles.", "number_changed"),
        ("What a day 😀!", "What a day 😢!", "name_changed"),
        ("From 1914–1918.", "From 1918–1914.", "number_changed"),
        ("Yes, as it is even.", "No, as it is even.", "name_changed"),
    ],
)
def test_a_small_sign_that_changed_is_refused(
    encoder: WordVectors, answer: str, merged: str, reason: str
) -> None:
    row = Row("a", "Answer the first one.", "", answer, 0, 1)
    question = f"{row.instruction} {BESIDE.instruction}"

    def measure(first: str) -> Information:
        joined = Example(question, "", f"{first} {BESIDE.output}")
        return measure_information(joined, (row, BESIDE), WEIGHTS, encoder)

    refusal = check_information(measure(merged), MIN_INFORMATION)
    assert refusal is not None and refusal.reason == reason
    assert check_information(measure(answer), MIN_INFORMATION) is None


@pytest.mark.parametrize(
    ("answer", "merged"), [("3.500", "3.5"), ("3.5", "3.500"), ("૩.૫", "3.5"), ("௪௨", "42")]
)
def test_equal_numbers_in_other_digits_are_kept(
    encoder: WordVectors, answer: str, merged: str
) -> None:
    row = Row("a", "How wide is it?", "", answer, 0, 1)
    joined = Example(
        f"{row.instruction} {BESIDE.instruction}", "", f"It is {merged}. {BESIDE.output}"
    )

    assert measure_information(joined, (row, BESIDE), WEIGHTS, encoder).score == 1.0


def test_a_yes_for_a_no_is_refused_where_another_answer_is_yes(encoder: WordVectors) -> None:
    rows = (
        Row("a", "Is 4 even?", "", "Yes, 4 is even.", 0, 1),
        Row("b", "Is 6 even?", "", "Yes", 1, 2),
    )
    kept = Example("Is 4 even, and is 6 even?", "", "Yes, 4 is even. For 6 it is yes.")
    flipped = kept._replace(output="Yes, 4 is even. For 6 it is no.")

    information = measure_information(flipped, rows, WEIGHTS, encoder)

    assert check_information(information, MIN_INFORMATION) is not None
    assert measure_information(kept, rows, WEIGHTS, encoder).score > MIN_INFORMATION


def test_an_answer_that_stands_only_inside_another_one_is_dropped(encoder: WordVectors) -> None:
    rows = (
        Row("a", "Name a yellow fruit.", "", "banana", 0, 1),
        Row("b", "List two fruits.", "", "apple, banana", 1, 2),
    )
    question = "Name a yellow fruit, and list two fruits."

    dropped = measure_information(Example(question, "", "apple, banana"), rows, WEIGHTS, encoder)
    kept = Example(question, "", "banana; apple, banana")

    refusal = check_information(dropped, MIN_INFORMATION)
    assert refusal is not None and refusal.reason == "source_dropped"
    assert measure_information(kept, rows, WEIGHTS, encoder).score == 1.0


def _count_calls(act: Callable[[], object]) -> int:
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    ("piece", "other"),
    [
        ("the big {} was here ", "the big 9{} was here "),
        ("{}. item number {} of 7\n", "{}. item number 1{} of 8\n"),
        ("stema{} ", "stemb{} "),
        ("x{} = f(a) + b;\n", "x{} = f(a) - b;\n"),
    ],
)
def test_the_work_grows_with_the_length_of_hostile_texts(
    encoder: WordVectors, piece: str, other: str
) -> None:
    source, merged = (
        "".join(text.replace("{}", str(number)) for number in range(20_000 // len(text)))
        for text in (piece, other)
    )
    rows = (Row("a", "Say it.", source, source, 0, 1), Row("b", "More.", source[9:], source, 1, 2))
    example = Example(f"Say it. {merged}", merged, merged)
    n_characters = sum(map(len, (*example, source, source, source, source)))

    calls = _count_calls(lambda: measure_information(example, rows, WEIGHTS, encoder))

    assert calls < 40 * n_characters
