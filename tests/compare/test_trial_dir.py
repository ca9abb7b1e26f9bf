"""What an A/B run is, on disk, and how it may grow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mergeit_async.compare.arms import Arm
from mergeit_async.compare.trial_dir import Trial, TrialDir, find_all_prices, judging_of
from mergeit_async.config import build_settings
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.errors import UsageError

A, B = Arm("A", "merge/v1", "m", hash="1"), Arm("B", "merge/v2", "m", {"temperature": 0.5}, "2")
C = Arm("C", "merge/v3", "m", hash="3")
TRIAL = Trial(100, (A, B))
URL = "http://127.0.0.1:9/v1"


def test_what_was_written_is_read_again(tmp_path):
    place = TrialDir(RunDir(tmp_path))
    trial = Trial(7, (A, replace(B, first_sample=3, forms={"form": "text"})), {"judge/v2": "h"})
    place.write(trial)
    assert place.read() == trial


def test_a_directory_without_arms_and_a_damaged_record_are_told(tmp_path):
    place = TrialDir(RunDir(tmp_path))
    with pytest.raises(UsageError, match="holds no A/B run"):
        place.read()
    place.record.write_text("groups = 3\narms = 5\n")
    with pytest.raises(UsageError, match=r"ab\.toml cannot be used"):
        place.read()


def test_arms_and_groups_may_be_added_and_what_was_found_out_is_kept():
    kept = replace(TRIAL, arms=(replace(A, forms={"form": "text"}), B))
    grown = kept.grown_to(Trial(200, (A, B, C)))
    assert (grown.n_groups, grown.arms) == (200, (*kept.arms, C))


@pytest.mark.parametrize(
    ("later", "named"),
    [
        (Trial(100, (A,)), "also has the arms B"),
        (Trial(50, (A, B)), "only become more"),
        (Trial(100, (B, A)), "arm A=merge/v1@m of this run is now B="),
        (Trial(100, (A, replace(B, hash="9"))), "its prompt has changed"),
        (Trial(100, (A, replace(B, parameters={}))), "is now B=merge/v2@m"),
        (Trial(100, (A, B), {"judge/v2": "new"}), "judge"),
    ],
)
def test_a_run_keeps_what_it_began_with(later, named):
    with pytest.raises(UsageError, match=named):
        TRIAL.grown_to(later)


def test_each_model_has_its_price_and_the_judge_its_own():
    settings = build_settings(
        {
            "dataset": Path("rows.jsonl"),
            "model": "m",
            "base_url": URL,
            "judge": "j",
            "price_in": 1.0,
            "price_out": 2.0,
            "judge_price_in": 3.0,
            "judge_price_out": 4.0,
        }
    )
    arms = (Arm("A", "merge/v1", "m"), Arm("B", "merge/v1", "other"))
    given = PriceSheet(1.0, 1.0, 2.0, "given")
    assert find_all_prices(settings, arms) == {
        URL: {"m": given, "other": given, "j": PriceSheet(3.0, 3.0, 4.0, "given")}
    }


def test_only_a_run_with_a_judge_has_a_prompt_for_pairs():
    settings = build_settings({"dataset": Path("rows.jsonl"), "model": "m"})
    assert judging_of(settings) == {}
    assert list(judging_of(settings.model_copy(update={"judge": "j"}))) == ["judge/v2"]
