"""Scores as judges write them, as their token probabilities tell them, and what they decide."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mergeit_async.merging.judge import (
    Scores,
    build_judge_request,
    is_better,
    mean_scores,
    read_scores,
)
from mergeit_async.records import (
    ChatReply,
    ChatRequest,
    Example,
    Message,
    Refusal,
    Row,
    TokenChoice,
)

FIVE_THREE = Scores(5.0, 3.0)


class Plain:
    """A prompt of a few words, to see what the request adds."""

    preamble = (Message("system", "Grade."),)

    def ask(self, row: Row | Example) -> str:
        return f"{row.instruction} -> {row.output}"


def _build(
    output: str = "3", *, model: str = "j", sample: int = 0, top_logprobs: int = 0
) -> ChatRequest:
    return build_judge_request(
        Plain(),
        Example("Add.", "1 2", output),
        endpoint="main",
        model=model,
        sample=sample,
        top_logprobs=top_logprobs,
    )


def _read(text: str, finish_reason: str = "stop") -> Scores | Refusal:
    return read_scores(ChatReply(text, finish_reason))


def _reason(text: str, finish_reason: str = "stop") -> str:
    refusal = _read(text, finish_reason)
    assert isinstance(refusal, Refusal)
    assert refusal.detail
    return refusal.reason


def _choose(*tokens: str | tuple[str, dict[str, float]]) -> tuple[TokenChoice, ...]:
    """Tokens of a reply; probabilities where they matter."""
    choices = []
    for token in tokens:
        text, shares = (token, {token: 1.0}) if isinstance(token, str) else token
        logprobs = {other: math.log(share) if share else -9999.0 for other, share in shares.items()}
        choices.append(TokenChoice(text, logprobs))
    return tuple(choices)


def _weigh(*tokens: str | tuple[str, dict[str, float]]) -> Scores | Refusal:
    choices = _choose(*tokens)
    text = "".join([choice.token for choice in choices]).replace("▁", " ")
    return read_scores(ChatReply(text, "stop", choices=choices))


@pytest.mark.parametrize(
    "text",
    [
        "quality: 5\ncomplexity: 3",
        "complexity: 3\nquality: 5",
        "Quality: 5\nComplexity: 3\n",
        "**quality:** 5\n**complexity:** 3",
        "**Quality**: **5**\n**Complexity**: **3**",
        "__quality__: __5__ __complexity__: __3__",
        "quality=5/6\ncomplexity=3/6",
        "quality: 5 out of 6, complexity: 3 of 6",
        "quality 5 complexity 3",
        "quality: 5,complexity: 3",
        "quality - 5\ncomplexity – 3",
        '{"quality": 5, "complexity": 3}',
        '```json\n{"complexity":"3","quality":"5"}\n```',
        '{"quality_score": 5, "complexity_score": 3}',
        "Quality score: 5.\nComplexity rating (1-6): 3.",
        "quality (1 to 6): 5\ncomplexity (1 to 6): 3",
        "Quality is 5. Complexity is 3.",
        "| quality | 5 |\n| complexity | 3 |",
        "- quality: [5]\n- complexity: (3)",
        "quality: 5.0\ncomplexity: 3,0",
        "quality: 5\ncomplexity: 3\nThe answer is right, with 2 small gaps.",
        "Grades:\n\nquality:\n5\n\ncomplexity:\n3",
        "quality: 5\ncomplexity: 3\n\nquality: 5, since it is complete.",
    ],
)
def test_scores_are_read_however_they_are_laid_out(text: str) -> None:
    assert _read(text) == FIVE_THREE


def test_a_number_between_two_grades_counts_as_it_is() -> None:
    assert _read("quality: 5.5\ncomplexity: 3.5/6") == Scores(5.5, 3.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5\n3",
        "This is a good answer to a hard question.",
        "I'm sorry, I cannot grade this.",
        "quality: 5",
        "complexity: 3",
        "quality: five\ncomplexity: three",
        "quality: high\ncomplexity: 3",
        "quality: N\ncomplexity: N",
        "quality:\ncomplexity: 3",
        "inequality: 5\ncomplexity: 3",
        "quality: 4-5\ncomplexity: 3",
        "quality: 4 to 5\ncomplexity: 3",
        "quality: 50%\ncomplexity: 3",
        "quality: 5th\ncomplexity: 3",
        "quality: 1.2.3\ncomplexity: 3",
        "quality (1-6)\ncomplexity: 3",
        "quality: 5\ncomplexity: 3\nOn reflection, quality: 2",
    ],
)
def test_what_is_not_one_number_for_each_score_is_unreadable(text: str) -> None:
    assert _reason(text) == "judge_unreadable"


@pytest.mark.parametrize(
    "number",
    [
        *("0", "7", "9", "10", "-1", "−1", "0.5", "6.5", "9" * 5000),
        *("5/10", "5.5/10", "5 out of 10", "5/5", "5/0", "5/" + "9" * 5000),
    ],
)
def test_a_number_off_the_scale_is_refused_and_not_bent(number: str) -> None:
    assert _reason(f"quality: {number}\ncomplexity: 3") == "judge_out_of_range"
    assert _reason(f'{{"complexity": "{number}", "quality": 3}}') == "judge_out_of_range"


def test_a_number_off_the_scale_is_quoted() -> None:
    refusal = _read("quality: 5.5/10\ncomplexity: 3")

    assert refusal == Refusal("judge_out_of_range", "quality is 5.5/10, not on the scale of 1 to 6")


@pytest.mark.parametrize("finish_reason", ["content_filter", "refusal"])
def test_a_reply_that_was_filtered_or_declined_has_no_scores(finish_reason: str) -> None:
    assert _reason("quality: 5\ncomplexity: 3", finish_reason) == "judge_unreadable"


def test_a_reply_that_was_cut_off_after_both_scores_has_them() -> None:
    assert _read("quality: 5\ncomplexity: 3\nThe answer", "length") == FIVE_THREE


@pytest.mark.parametrize(
    "text",
    [*("quality: 5\ncomplexity: 3" + end for end in ("", ".", "/", " ")), "quality: 5\ncompl", ""],
)
def test_a_number_that_may_have_been_cut_off_is_none(text: str) -> None:
    assert _reason(text, "length") == "judge_unreadable"


def test_a_score_is_the_mean_of_the_grades_by_their_probabilities() -> None:
    scores = _weigh(
        "quality",
        ":",
        " ",
        ("5", {"5": 0.5, "6": 0.25, "4": 0.15, "great": 0.1}),
        "\n",
        "complexity: ",
        ("3", {"3": 0.6, "2": 0.2, "1": 0.2}),
    )

    assert isinstance(scores, Scores)
    assert scores.quality == pytest.approx((5 * 0.5 + 6 * 0.25 + 4 * 0.15) / 0.9)
    assert scores.complexity == pytest.approx(3 * 0.6 + 2 * 0.2 + 1 * 0.2)


def test_grades_are_known_with_the_white_space_of_their_tokens() -> None:
    scores = _weigh(
        "complexity:",
        (" 4", {" 4": 0.5, "4": 0.25, "2": 0.25}),
        "\nquality:",
        ("▁3\n", {"▁3\n": 0.5, "Ġ5": 0.5}),
    )

    assert isinstance(scores, Scores)
    assert scores.complexity == pytest.approx(4 * 0.75 + 2 * 0.25)
    assert scores.quality == pytest.approx(4.0)


def test_each_score_has_the_probabilities_of_its_own_digit() -> None:
    sure, unsure = {"5": 1.0}, {"5": 0.5, "1": 0.5}

    first = _weigh("quality: ", ("5", sure), "\ncomplexity: ", ("5", unsure))
    second = _weigh("5 stars. complexity: ", ("5", unsure), " quality: ", ("5", sure))

    assert first == second == Scores(5.0, pytest.approx(3.0))


def test_a_grade_off_the_scale_is_refused_even_if_others_were_likely() -> None:
    refusal = _weigh("quality: ", ("9", {"9": 0.6, "5": 0.4}), "\ncomplexity: ", "3")

    assert isinstance(refusal, Refusal)
    assert refusal.reason == "judge_out_of_range"


@pytest.mark.parametrize(
    "tokens",
    [
        ("quality:5", "\ncomplexity:3"),
        ("quality: ", ("5", {"great": 0.9}), "\ncomplexity: ", ("3", {"3": 0.0})),
        ("quality: ", ("5", {"5": 0.5, "1": 0.5}), ".0", "\ncomplexity: ", "3"),
        ("quality: 5",),
        ("", "", ""),
    ],
)
def test_without_probabilities_of_its_digit_a_score_is_what_was_written(
    tokens: tuple[str | tuple[str, dict[str, float]], ...],
) -> None:
    reply = ChatReply("quality: 5\ncomplexity: 3", "stop", choices=_choose(*tokens))

    assert read_scores(reply) == FIVE_THREE


def test_a_certain_grade_is_exactly_that_grade() -> None:
    for share in (1.0, 0.1, 0.3, 1e-9):
        assert _weigh("quality: ", ("6", {"6": share}), " complexity: ", ("1", {"1": share})) == (
            Scores(6.0, 1.0)
        )


PIECES = st.sampled_from(
    [
        *("quality", "complexity", "Quality", "QUALİTY", "complexıty", "(1-6)", "is ", "/6", "/10"),
        *("5", "3", " 4", "▁", "Ġ5", "e3", "٣", "−", "\n", *'0123456789:=*"{},.-% '),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=14)
REASONS = st.sampled_from(["stop", "length", "content_filter", "refusal", "other"])


@given(TEXTS, REASONS, st.lists(st.dictionaries(PIECES, st.floats(), max_size=4), max_size=14))
@example(["quality: 5\ncomplexity: ", "3"], "stop", [{"3": math.nan}, {"3": math.inf}])
@example(["qualİty: 5\ncomplexıty: 3"], "stop", [{}])
def test_no_reply_raises_and_all_scores_are_on_the_scale(
    pieces: list[str], finish_reason: str, alternatives: list[dict[str, float]]
) -> None:
    choices = tuple(map(TokenChoice, pieces, alternatives))

    scores = read_scores(ChatReply("".join(pieces), finish_reason, choices=choices))

    if isinstance(scores, Refusal):
        assert scores.reason in ("judge_unreadable", "judge_out_of_range")
    else:
        assert all(1 <= score <= 6 for score in scores)


@given(st.floats(1, 6), st.floats(1, 6))
def test_scores_that_were_written_are_read_back(quality: float, complexity: float) -> None:
    text = f"quality: {quality:.3f}\ncomplexity: {complexity:.3f}"

    assert _read(text) == Scores(round(quality, 3), round(complexity, 3))


@pytest.mark.parametrize(
    "unit",
    ["quality ", "quality: 5 ", "quality (", "quality:" + " " * 99, "9", "quality: 9.", "1-"],
)
def test_a_megabyte_of_hostile_text_is_read_in_time(unit: str) -> None:
    assert isinstance(_read("quality: " + unit * (1_000_000 // len(unit))), Refusal)


def test_the_mean_of_samples_is_taken_of_each_score() -> None:
    assert mean_scores([Scores(5, 2), Scores(4, 4), Scores(6, 3)]) == Scores(5.0, 3.0)


def test_a_merge_has_to_exceed_the_mean_of_its_sources() -> None:
    sources = [Scores(2, 2), Scores(6, 4)]  # products 4 and 24, in the mean 14

    assert is_better(Scores(5, 3), sources)
    assert not is_better(Scores(3.5, 4), sources)
    assert not is_better(Scores(6, 2), sources)


def test_without_scores_there_is_no_mean() -> None:
    for compare in (lambda: mean_scores([]), lambda: is_better(FIVE_THREE, [])):
        with pytest.raises(ValueError, match="requires at least one"):
            compare()


def test_a_row_is_asked_about_after_the_preamble() -> None:
    request = _build()

    assert request.messages == (*Plain.preamble, Message("user", "Add. -> 3"))
    assert (request.model, request.sample) == ("j", 0)
    assert request.max_tokens < 50
    assert request.estimated_prompt_tokens > 8


def test_probabilities_are_asked_for_at_temperature_0_and_samples_at_1() -> None:
    weighed, sampled = _build(top_logprobs=6), _build()

    assert (weighed.temperature, weighed.top_logprobs) == (0.0, 6)
    assert (sampled.temperature, sampled.top_logprobs) == (1.0, 0)


def test_equal_requests_have_equal_keys_and_all_else_differs() -> None:
    keys = [
        _build().key,
        _build("4").key,
        _build(model="k").key,
        _build(sample=1).key,
        _build(top_logprobs=6).key,
        _build(top_logprobs=20).key,
    ]

    assert _build().key == keys[0]
    assert len(set(keys)) == 6
