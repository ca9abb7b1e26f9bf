from __future__ import annotations

from typing import Any

from mergeit_async.compare.differing import how_far_apart


def group(*arms: tuple[str, float | None, float | None]) -> dict[str, Any]:
    keys = ("status", "judge_score", "information")
    return {"arms": {str(at): dict(zip(keys, arm, strict=True)) for at, arm in enumerate(arms)}}


def test_groups_that_one_arm_alone_merged_come_before_those_that_all_did():
    alone = group(("merged", None, 1.0), ("kept", None, None))
    scored = group(("merged", 36.0, 1.0), ("merged", 1.0, 0.9))
    alike = group(("merged", None, 1.0), ("merged", None, 1.0))
    assert how_far_apart(alone) > how_far_apart(scored) > how_far_apart(alike) == 0
