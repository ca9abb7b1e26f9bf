"""Answers that changed places."""

from __future__ import annotations

from mergeit_async.merging.order import Roles, measure_swaps
from mergeit_async.merging.units import read_row
from mergeit_async.records import Example

COUSCOUS = Example("How much water does couscous need?", "", "Couscous needs 375 ml of it.")
RICE = Example("How much water does basmati rice need?", "", "Basmati rice needs 450 ml of it.")
ANGRY = Example("Name the tone.", "This is unacceptable!", "Angry")
GLAD = Example("Name the tone.", "Thanks so much for the cake.", "Grateful")
COLD = Example("Name the tone.", "The minutes are attached.", "Neutral")


def _measure(merged: Example, *sources: Example) -> list[float]:
    rows = [read_row(source) for source in sources]
    return measure_swaps(Roles(rows), rows, read_row(merged))


def test_numbers_beside_the_wrong_words_were_swapped() -> None:
    question = "How much water do couscous and basmati rice need?"
    swapped = Example(question, "", "Couscous needs 450 ml, basmati rice needs 375 ml.")
    right = Example(question, "", "Basmati rice needs 450 ml, couscous needs 375 ml.")

    assert min(_measure(swapped, COUSCOUS, RICE)) > 0.6
    assert _measure(right, COUSCOUS, RICE) == [0.0, 0.0]


def test_bare_answers_in_the_wrong_order_were_swapped() -> None:
    given = f"(1) {ANGRY.input}\n(2) {GLAD.input}"
    question = "Name the tone of each."

    assert min(_measure(Example(question, given, "(1) Grateful (2) Angry"), ANGRY, GLAD)) == 1.0
    assert _measure(Example(question, given, "(1) Angry (2) Grateful"), ANGRY, GLAD) == [0.0, 0.0]


def test_of_three_answers_the_one_in_its_place_is_not_blamed() -> None:
    given = f"(1) {ANGRY.input}\n(2) {GLAD.input}\n(3) {COLD.input}"
    merged = Example("Name each tone.", given, "(1) Angry\n(2) Neutral\n(3) Grateful")

    assert _measure(merged, ANGRY, GLAD, COLD) == [0.0, 1.0, 1.0]


def test_answers_that_name_their_question_may_come_in_another_order() -> None:
    merged = Example(
        "How much water does couscous need, and basmati rice?",
        "",
        "Basmati rice needs 450 ml. Couscous needs 375 ml.",
    )

    assert _measure(merged, COUSCOUS, RICE) == [0.0, 0.0]


def test_answers_under_the_number_of_another_question_were_swapped_whatever_they_name() -> None:
    merged = Example(
        "How much water does couscous need, and basmati rice?",
        "",
        "Basmati rice needs 450 ml.\n\nAs for the second task: Couscous needs 375 ml.",
    )

    assert min(_measure(merged, COUSCOUS, RICE)) > 0.8


def test_whole_answers_belong_to_the_questions_that_introduce_them() -> None:
    food = Example("How do I save on groceries?", "", "Plan the meals in advance and write a list.")
    debt = Example("How do I clear my cards?", "", "Pay the minimum on all cards but the dearest.")
    asked = "How do I save on groceries, and how do I clear my cards?"
    output = f"As to the groceries: {food.output} The way to clear your cards is: {debt.output}"
    swapped = f"As to the groceries: {debt.output} The way to clear your cards is: {food.output}"
    turned = f"The way to clear your cards is: {debt.output} As to the groceries: {food.output}"

    assert min(_measure(Example(asked, "", swapped), food, debt)) > 0.8
    assert _measure(Example(asked, "", output), food, debt) == [0.0, 0.0]
    assert _measure(Example(asked, "", turned), food, debt) == [0.0, 0.0]


def test_equal_sources_cannot_be_swapped() -> None:
    assert _measure(COUSCOUS, COUSCOUS, COUSCOUS) == [0.0, 0.0]
