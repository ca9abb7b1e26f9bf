"""Results from journals as runs leave them, also where nothing can be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from mergeit_async.compare.arm_merger import place_of
from mergeit_async.compare.arms import Arm
from mergeit_async.compare.judging import Verdict, Verdicts
from mergeit_async.compare.result import rounded, write_result
from mergeit_async.compare.trial_dir import Trial, TrialDir
from mergeit_async.config import build_settings
from mergeit_async.engine.identity import Identity
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.run_dir import Record, RunDir, Stamp
from mergeit_async.engine.tables import ADD_OUTCOME, connect_writer, outcome_values
from mergeit_async.records import Example, Outcome, Status

SETTINGS = build_settings({"dataset": Path("rows.jsonl"), "model": "m"})
ARMS = (Arm("A", "merge/v1", "m"), Arm("B", "merge/v2", "m"))
RECORD = Record(SETTINGS, Identity("rows", {}), Stamp(0, 0))
SCORES = {"information": 0.9, "tokens": {"prompt": 10, "completion": 5, "cached": 0}}


def outcome(place: int, status: Status, scores: dict[str, Any] | None = None) -> Outcome:
    merged = Example("Ask.", "", "Answer.") if status is Status.MERGED else None
    reason = None if merged else "too_short" if status is Status.KEPT else "timeout"
    return Outcome(place, f"g{place}", status, 1, merged, reason, scores=scores or SCORES)


def compare(
    tmp_path: Path, a: list[Status], b: list[Status], verdicts: Verdicts | None = None
) -> dict[str, Any]:
    """The result of two arms with these outcomes."""
    run = RunDir(tmp_path)
    with connect_writer(run.journal) as journal:
        for arm, statuses in enumerate((a, b)):
            for at, status in enumerate(statuses):
                values = outcome_values(outcome(place_of(arm, at), status))
                journal.execute(ADD_OUTCOME, values)
    journal.close()
    sample = [PlannedGroup(at, 0, (0, 1), 0.9) for at in range(len(a))]
    trial = Trial(len(a), ARMS)
    return write_result(TrialDir(run), trial, RECORD, sample, verdicts).values


MERGED, KEPT, FAILED = Status.MERGED, Status.KEPT, Status.FAILED


def test_a_better_arm_is_named_with_what_it_is_better_in(tmp_path):
    result = compare(tmp_path, [KEPT] * 30 + [MERGED] * 30, [MERGED] * 60)
    assert result["verdict"]["winner"] == "B"
    effect = result["comparisons"][0]["effects"][0]
    assert (effect["metric"], effect["estimate"], effect["only_b"]) == ("passed", 0.5, 30)
    assert result["arms"][0]["reasons"] == {"too_short": 30}


def test_arms_that_are_all_alike_have_no_winner(tmp_path):
    result = compare(tmp_path, [MERGED] * 60, [MERGED] * 60)
    assert (result["verdict"]["kind"], result["verdict"]["winner"]) == ("none", None)
    assert all(effect["p"] == 1 for effect in result["comparisons"][0]["effects"])


def test_an_arm_whose_every_call_failed_says_nothing_and_the_verdict_says_so(tmp_path):
    result = compare(tmp_path, [MERGED] * 20, [FAILED] * 20)
    assert result["verdict"]["kind"] == "nothing"
    assert "see which calls failed" in result["verdict"]["sentence"]
    failed = result["arms"][1]
    assert (failed["without_reply"], failed["pass_rate"]) == (20, None)
    assert failed["reasons"] == {"timeout": 20}


@pytest.mark.parametrize("n", [1, 2])
def test_very_few_groups_are_told_to_be_too_few(tmp_path, n):
    result = compare(tmp_path, [MERGED] * n, [KEPT] * n)
    assert "too few" in result["verdict"]["sentence"]


def test_what_a_judge_could_not_say_is_left_out(tmp_path):
    said = [Verdict({0: 20.0, 1: 10.0}, {(0, 1): (-1.0, -1.0)}) for _ in range(19)]
    result = compare(tmp_path, [MERGED] * 20, [MERGED] * 20, Verdicts([*said, Verdict()]))
    effects = {each["metric"]: each for each in result["comparisons"][0]["effects"]}
    assert (effects["preference"]["n"], effects["preference"]["left_out"]) == (19, 1)
    assert result["comparisons"][0]["preferences"]["wins_a"] == 19
    assert result["verdict"]["winner"] == "A"
    assert result["groups"][-1]["arms"]["A"]["judge_score"] is None


def test_a_result_is_json_without_any_nan(tmp_path):
    compare(tmp_path, [MERGED, KEPT, FAILED], [FAILED, MERGED, KEPT])
    for name in ("ab.json", "ab_times.json"):
        orjson.loads((tmp_path / name).read_bytes())
        assert b"NaN" not in (tmp_path / name).read_bytes()


def test_numbers_have_six_digits_and_what_is_none_is_null():
    assert rounded({"a": (1.23456789, float("nan"), np.inf, 3)}) == {"a": [1.23457, None, None, 3]}


def test_arms_that_merge_nothing_are_not_recommended(tmp_path):
    sentence = compare(tmp_path, [KEPT] * 20, [KEPT] * 20)["verdict"]["sentence"]
    assert "choose neither" in sentence
