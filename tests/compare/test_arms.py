"""Arms as they are written, and as what they ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.compare.arms import (
    count_samples,
    first_model,
    parse_arm,
    parse_arms,
    requests_of,
    settings_of,
)
from mergeit_async.config import build_settings
from mergeit_async.errors import UsageError
from mergeit_async.records import Group, Row

SETTINGS = build_settings({"dataset": Path("rows.jsonl"), "model": "m"})
ROWS = (Row("a", "Name a river.", "", "Loire.", 0, 1), Row("b", "Name a hill.", "", "Rigi.", 1, 2))
GROUP = Group(0, 0, "group", ROWS, 0.9)


@pytest.mark.parametrize(
    ("text", "prompt", "model", "parameters"),
    [
        ("A=merge/v1", "merge/v1", "m", {}),
        ("B=merge/v2@org/other:8b", "merge/v2", "org/other:8b", {}),
        ("C=merge/v2?temperature=0.7", "merge/v2", "m", {"temperature": 0.7}),
        (
            "new-one=merge/v3@o?temperature=0&max_output_tokens=500",
            "merge/v3",
            "o",
            {"temperature": 0.0, "max_output_tokens": 500},
        ),
    ],
)
def test_an_arm_names_its_prompt_and_what_is_not_as_for_all(text, prompt, model, parameters):
    arm = parse_arm(text, SETTINGS)
    assert (arm.prompt, arm.model, arm.parameters) == (prompt, model, parameters)
    assert parse_arm(f"{arm.name}={arm.description}", SETTINGS) == arm


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ([], "at least two"),
        (["A=merge/v1"], "only the arm 'A'"),
        (["A=merge/v1", "A=merge/v2"], "2 arms 'A'"),
        (["A", "B"], "NAME=TASK/VERSION"),
        (["A=merge/v1", "B=merge/v99"], "merge/v99"),
        (["A=merge/v1", "B=judge/v1"], "judge/v1"),
        (["A=merge/v1", "B=merge/v2?heat=1"], "no parameter 'heat'"),
        (["A=merge/v1", "B=merge/v2?temperature=hot"], "'hot' is no number"),
        (["A=merge/v1", "B=merge/v2?temperature=3"], "--temperature 3.0"),
    ],
)
def test_an_arm_that_cannot_be_used_is_named(texts, named):
    with pytest.raises(UsageError, match=named):
        parse_arms(texts, SETTINGS)


def test_an_arm_without_a_model_says_how_to_name_one():
    offline = build_settings({"dataset": Path("rows.jsonl")})
    with pytest.raises(UsageError, match="A=merge/v1@MODEL"):
        parse_arm("A=merge/v1", offline)
    assert parse_arm("A=merge/v1@m", offline).model == "m"


def test_the_first_model_named_stands_for_all():
    assert first_model(["A=merge/v1", "B=merge/v1@b", "C=merge/v1@c"]) == "b"
    assert first_model(["A=merge/v1", "B"]) is None


def test_arms_of_equal_content_draw_distinct_samples():
    texts = ["A=merge/v1", "B=merge/v2", "C=merge/v1", "D=merge/v1?temperature=0.25"]
    arms = count_samples(parse_arms(texts, SETTINGS), SETTINGS)
    # The paper's temperature is that of the prompt: D asks what A asks.
    assert [arm.first_sample for arm in arms] == [0, 0, 3, 6]
    keys = [
        requests_of(arm, SETTINGS).merge(GROUP, sample).key for arm in arms for sample in range(3)
    ]
    assert len(set(keys)) == len(keys)


def test_an_arm_that_comes_later_draws_what_none_before_it_drew():
    (first, _) = before = parse_arms(["A=merge/v1", "B=merge/v2"], SETTINGS)
    (later,) = count_samples([parse_arm("C=merge/v1", SETTINGS)], SETTINGS, before)
    assert (first.first_sample, later.first_sample) == (0, 3)


def test_an_arm_asks_as_a_run_with_its_settings_would():
    arm = parse_arm("C=merge/v1@other?temperature=0.5", SETTINGS)
    request = requests_of(arm, SETTINGS).merge(GROUP, 0)
    assert (request.model, request.temperature) == ("other", 0.5)
    assert settings_of(arm, SETTINGS).prompt == "merge/v1"


def test_a_large_number_is_read_as_it_was_written():
    arm = parse_arm("B=merge/v2?temperature=0.1234567&max_output_tokens=1234567", SETTINGS)
    assert parse_arm(f"B={arm.description}", SETTINGS) == arm
