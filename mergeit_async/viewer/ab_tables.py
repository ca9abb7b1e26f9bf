"""An A/B run as text for a terminal: before anything is sent, and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergeit_async.compare.power import Foresight
from mergeit_async.compare.wording import write_number, write_p, write_points
from mergeit_async.engine.estimate import Estimate
from mergeit_async.viewer.progress import dollars
from mergeit_async.viewer.tables import align, estimate_rows

NOTHING = "–"
SHARES = ("binary", "preference")


def foresight_text(foresight: Foresight, estimate: Estimate, n_arms: int) -> str:
    """What a run will take and what it can show."""
    smallest = foresight.pass_difference
    rows = [
        ("groups", f"{foresight.n_groups:,}", f"each by {n_arms} arms"),
        *estimate_rows(estimate, ()),
        (
            "can show",
            f"{write_points(smallest)} points" if smallest else "nothing",
            f"smallest difference of pass rates found with power {foresight.power:g}, at rates "
            f"around {foresight.pass_rate:g} and {foresight.n_tests} tests",
        ),
    ]
    if foresight.mean_difference is not None:
        size = f"{write_number(foresight.mean_difference)} sd"
        rows.append(("", size, "smallest difference of a mean, in its own spread"))
    text = align(rows)
    return f"{text}\n{foresight.hint}" if foresight.hint else text


def count_missing(arms: Sequence[Mapping[str, Any]]) -> int:
    """Merges that no reply came to, over all arms."""
    return sum(arm["without_reply"] for arm in arms)


def result_text(result: Mapping[str, Any], files: Sequence[tuple[str, str]], command: str) -> str:
    """The arms, the effects between them, the verdict, and by what `command` the run goes on."""
    parts = [align(arm_rows(result["arms"]))]
    for comparison in result["comparisons"]:
        parts.append(align(effect_rows(comparison)))
    parts += [result["verdict"]["sentence"], align(files)]
    if (n_missing := count_missing(result["arms"])) > 0:
        parts.append(
            f"{n_missing:,} merges got no usable reply, and their groups are left out; try them "
            f"again with\n{command} --retry-failed"
        )
    return "\n\n".join(parts)


def arm_rows(arms: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A line for each arm below a line of titles."""
    titles = ("arm", "prompt@model", "passed", "at once", "information", "judge", "length")
    rows: list[tuple[str, ...]] = [(*titles, "tokens", "cost a merge", "not merged because")]
    for arm in arms:
        n_answered = arm["groups"] - arm["without_reply"]
        at_once = arm["merged_at_once"] / n_answered if n_answered else None
        reasons = ", ".join(f"{count} {reason}" for reason, count in arm["reasons"].items())
        rows.append(
            (
                arm["name"],
                f"{arm['prompt']}@{arm['model']}{write_parameters(arm['parameters'])}",
                write_share(arm["pass_rate"]),
                write_share(at_once),
                write_mean(arm["information"]),
                write_mean(arm["judge_score"]),
                write_mean(arm["length"]),
                write_mean(arm["tokens"]),
                dollars(cost) if (cost := arm["cost_per_merge_usd"]) is not None else NOTHING,
                reasons or NOTHING,
            )
        )
    return rows


def effect_rows(comparison: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line for each effect between two arms below a line of titles."""
    a, b = comparison["a"], comparison["b"]
    rows: list[tuple[str, ...]] = [
        (f"{b} against {a}", "difference", "95 % interval", "p after Holm", "n", "")
    ]
    for effect in comparison["effects"]:
        ends = [write_size(effect[end], effect) for end in ("low", "high")]
        rows.append(
            (
                effect["label"],
                write_size(effect["estimate"], effect),
                NOTHING if effect["low"] is None else " to ".join(ends),
                write_p(effect["p_holm"] if effect["p_holm"] is not None else effect["p"]),
                f"{effect['n']:,}",
                "established" if effect["is_established"] else effect["note"],
            )
        )
    if preferences := comparison["preferences"]:
        bias = preferences["position_bias"]
        said = NOTHING if bias is None else f"{write_points(bias)} %"
        rows.append(("order decided", said, "", "", f"{preferences['n']:,}", "counted as ties"))
    return rows


def write_size(value: float | None, effect: Mapping[str, Any]) -> str:
    """A difference in the unit of its metric, with its sign."""
    if value is None:
        return NOTHING
    sign = "+" if value > 0 else "−" if value < 0 else ""
    if effect["kind"] in SHARES:
        return f"{sign}{write_points(abs(value))}"
    return f"{sign}{write_number(abs(value))}"


def write_share(share: float | None) -> str:
    """A share in percent."""
    return NOTHING if share is None else f"{write_points(share)} %"


def write_mean(value: float | None) -> str:
    """A mean, or that there is none."""
    return NOTHING if value is None else write_number(value)


def write_parameters(parameters: Mapping[str, float]) -> str:
    """Parameters as an arm is written with them."""
    told = "&".join(f"{name}={value!r}" for name, value in parameters.items())
    return f"?{told}" if told else ""
