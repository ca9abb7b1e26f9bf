"""The result of an A/B run as one page that needs nothing else: `ab.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mergeit_async.compare.wording import write_p
from mergeit_async.viewer.ab_tables import (
    NOTHING,
    arm_rows,
    count_missing,
    write_mean,
    write_share,
    write_size,
)
from mergeit_async.viewer.page import write_page
from mergeit_async.viewer.progress import dollars

# Half of a forest plot's width in its own units; the widest interval of a row fills it.
HALF = 100.0
COLOURS = ("#2f6fb0", "#c8622d", "#3d8f57", "#8a55a8", "#b3923a", "#4b8f97", "#a84a5f", "#6b6b6b")


def write_ab_page(
    path: Path, result: Mapping[str, Any], differing: Sequence[Mapping[str, Any]]
) -> None:
    """Write the page of `result`, as `ab.json` holds it, with these groups side by side."""
    titles, *rows = arm_rows(result["arms"])
    write_page(
        path,
        "ab.html.j2",
        result=result,
        titles=titles,
        rows=rows,
        colours={arm["name"]: COLOURS[at % len(COLOURS)] for at, arm in enumerate(result["arms"])},
        forests=[forest(comparison) for comparison in result["comparisons"]],
        bars=pass_bars(result["arms"]),
        dots=cost_dots(result["arms"]),
        differing=differing,
        n_missing=count_missing(result["arms"]),
        write_share=write_share,
        write_mean=write_mean,
    )


def forest(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The effects between two arms as lines of a plot, each on a scale of its own around 0."""
    lines = []
    for effect in comparison["effects"]:
        known = [abs(effect[end]) for end in ("estimate", "low", "high") if effect[end] is not None]
        scale = HALF / max(known) if known and max(known) > 0 else 0.0
        ends = [None if effect[end] is None else effect[end] * scale for end in ("low", "high")]
        interval = [write_size(effect[end], effect) for end in ("low", "high")]
        lines.append(
            {
                "label": effect["label"],
                "unit": effect["unit"],
                "middle": None if effect["estimate"] is None else effect["estimate"] * scale,
                "low": ends[0],
                "high": ends[1],
                "size": write_size(effect["estimate"], effect),
                "interval": NOTHING if None in ends else " to ".join(interval),
                "p": write_p(effect["p"] if effect["p_holm"] is None else effect["p_holm"]),
                "n": effect["n"],
                "is_established": effect["is_established"],
                "note": effect["note"],
            }
        )
    preferences = comparison["preferences"]
    return {**comparison, "lines": lines, "bias": preferences and preferences["position_bias"]}


def pass_bars(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The shares of each arm's groups: merged at once, merged later, not merged, no reply."""
    bars = []
    for arm in arms:
        n, merged, at_once = arm["groups"], arm["merged"], arm["merged_at_once"]
        parts = {
            "at once": at_once,
            "after a repair or another draw": merged - at_once,
            "originals stay": n - merged - arm["without_reply"],
            "no reply": arm["without_reply"],
        }
        bars.append({"name": arm["name"], "parts": {k: v / n * 100 for k, v in parts.items()}})
    return bars


def cost_dots(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each arm as a place by what a merge costs, or takes in tokens, and how many it gets."""
    by_cost = all(arm["cost_per_merge_usd"] is not None for arm in arms)
    prices = [arm["cost_per_merge_usd"] if by_cost else tokens_per_merge(arm) for arm in arms]
    most = max((price for price in prices if price is not None), default=0.0) or 1.0
    return [
        {
            "name": arm["name"],
            "x": price / most * 100,
            "y": 100 * arm["pass_rate"],
            "price": dollars(price) if by_cost else f"{write_mean(price)} tokens",
        }
        for arm, price in zip(arms, prices, strict=True)
        if price is not None and arm["pass_rate"] is not None
    ]


def tokens_per_merge(arm: Mapping[str, Any]) -> float | None:
    """Tokens in and out per accepted merge; None without any."""
    tokens: float = arm["prompt_tokens"] + arm["completion_tokens"]
    return tokens / arm["merged"] if arm["merged"] else None
