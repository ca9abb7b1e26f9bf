"""The groups in which the arms of an A/B run differ most, with their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mergeit_async.compare.arm_merger import place_of
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.tables import connect_reader, read_outcomes
from mergeit_async.merging.judge import HIGHEST
from mergeit_async.records import Group

HIGHEST_PRODUCT = HIGHEST**2


def describe_differing(
    groups: Sequence[Mapping[str, Any]],
    sample: Sequence[PlannedGroup],
    load_group: Callable[[PlannedGroup], Group],
    journal: Path,
    most: int,
) -> list[dict[str, Any]]:
    """`most` of the `groups` of `ab.json`, with sources and merges; none in which all are alike."""
    apart = [how_far_apart(group) for group in groups]
    order = sorted(range(len(groups)), key=lambda at: -apart[at])
    chosen = [at for at in order[:most] if apart[at] > 0]
    with closing(connect_reader(journal)) as connection:
        merged = {outcome.position: outcome.merged for outcome in read_outcomes(connection)}
    return [
        {
            "id": groups[at]["id"],
            "topic": groups[at]["topic"],
            "sources": load_group(sample[at]).rows,
            "arms": [
                {"name": name, "merged": merged[place_of(arm, sample[at].position)], **told}
                for arm, (name, told) in enumerate(groups[at]["arms"].items())
            ],
        }
        for at in chosen
    ]


def how_far_apart(group: Mapping[str, Any]) -> float:
    """How much the arms differ in one group: by acceptance first, then by score and information."""
    arms = list(group["arms"].values())
    accepted = {arm["status"] for arm in arms}
    scores = [arm["judge_score"] for arm in arms if arm["judge_score"] is not None]
    kept = [arm["information"] for arm in arms if arm["information"] is not None]
    return 2 * (len(accepted) > 1) + span(scores) / HIGHEST_PRODUCT + span(kept)


def span(values: Sequence[float]) -> float:
    """From the least to the most."""
    return max(values) - min(values) if values else 0.0
