"""What an A/B run takes, told beforehand, bounds what it does take."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.compare.arms import parse_arms
from mergeit_async.compare.forecast import forecast
from mergeit_async.compare.trial_dir import Trial, judging_of
from mergeit_async.config import build_settings
from mergeit_async.records import Group, Row

ROWS = (Row("a", "Name a river.", "", "Loire.", 0, 1), Row("b", "Name a hill.", "", "Rigi.", 1, 2))
GROUPS = [Group(at, 0, f"g{at}", ROWS, 0.9) for at in range(10)]
SETTINGS = build_settings({"dataset": Path("rows.jsonl"), "model": "m", "max_attempts": 3})


@pytest.mark.parametrize(
    ("n_arms", "judge", "low", "high"),
    [
        (2, None, 20, 60),
        (3, None, 30, 90),
        # Three scores and both orders of three pairs; five samples and three replies at most.
        (3, "j", 30 + 90, 90 + 10 * (3 * 5 + 6 * 3)),
    ],
)
def test_calls_are_counted_from_all_accepted_at_once_to_all_attempts(n_arms, judge, low, high):
    settings = SETTINGS.model_copy(update={"judge": judge})
    arms = parse_arms([f"A{at}=merge/v{at + 1}" for at in range(n_arms)], settings)
    effort = forecast(Trial(10, arms, judging_of(settings)), settings, {}, GROUPS)
    assert (effort.calls.low, effort.calls.high) == (low, high)
    assert effort.cost_usd is None
    assert 0 < effort.prompt_tokens.low < effort.prompt_tokens.high
