"""Numbers and effects in the words of a verdict."""

from __future__ import annotations

from math import floor, log10

from mergeit_async.compare.metrics import Effect, Metric

_SIGNIFICANT = 3


def write_number(value: float) -> str:
    """A number with three digits that count, without an exponent where it can be read without."""
    if value == 0:
        return "0"
    digits = _SIGNIFICANT - 1 - floor(log10(abs(value)))
    if not -4 <= digits <= 8:
        return f"{value:.3g}"
    rounded = f"{value:,.{max(0, digits)}f}"
    return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded


def write_points(share: float) -> str:
    """A share as points of a hundred, with one digit after the point."""
    points = f"{100 * share:.1f}"
    return "0" if points in ("-0.0", "0.0") else points


def write_p(p: float) -> str:
    """A p as it stands in a sentence."""
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.001 else f"p = {p:.2g}" if p < 0.995 else "p = 1"


def write_groups(n: int) -> str:
    """So many groups."""
    return "1 group" if n == 1 else f"{n:,} groups"


def write_evidence(effect: Effect, metric: Metric, sign: int) -> str:
    """The interval of an effect, its p and n, as they stand in parentheses.

    The ends are sizes in the direction that is told: 5 % to 9 % of 7 % less.
    """
    told = []
    if effect.low is not None and effect.high is not None:
        way = 1 if (effect.estimate or 0.0) > 0 else -1
        ends = sorted(way * end for end in (effect.low, effect.high))
        low, high = (_write_size(end, effect, metric, sign) for end in ends)
        told.append(f"95 % interval {low} to {high}")
    if effect.p_holm is None:
        told.append(f"{write_p(effect.p)} before correction")
    else:
        told.append(f"{write_p(effect.p_holm)} after Holm")
    return ", ".join([*told, write_groups(effect.n)])


def write_effect(effect: Effect, metric: Metric, other: str, sign: int) -> str:
    """What the arm that differs by `sign` times the effect does more or less than `other`."""
    difference = sign * (effect.estimate or 0.0)
    size = _write_size(abs(difference), effect, metric, sign)
    if metric.kind == "binary":
        often = "more" if difference > 0 else "less"
        said = f"{_as_verb(metric)} {size} points {often} often than {other}"
    elif metric.kind == "preference":
        often = "more" if difference > 0 else "less"
        said = f"is {metric.label} in {size} points {often} of the groups than {other}"
    elif metric.kind == "ratio":
        said = (
            f"costs {size} {'more' if difference > 0 else 'less'} per accepted merge than {other}"
        )
    elif metric.direction == "lower" and metric.unit == metric.label:
        many = "more" if difference > 0 else "fewer"
        said = f"takes {size} {many} {metric.label} than {other}"
    else:
        unit = "" if _is_percent(effect, metric) or not metric.unit else f" {metric.unit}"
        height = "higher" if difference > 0 else "lower"
        said = f"has a {metric.label} that is {size}{unit} {height} than that of {other}"
    return f"{said} ({write_evidence(effect, metric, sign)})"


def _as_verb(metric: Metric) -> str:
    return "passes" if metric.name == "passed" else f"is {metric.label}"


def _is_percent(effect: Effect, metric: Metric) -> bool:
    return metric.in_percent and bool(effect.mean_a) and bool(effect.mean_b)


def _write_size(value: float, effect: Effect, metric: Metric, sign: int) -> str:
    """A difference in the metric's unit, or in percent of the arm that is compared with."""
    if metric.kind in ("binary", "preference"):
        return write_points(value)
    other = effect.mean_a if sign > 0 else effect.mean_b
    if _is_percent(effect, metric) and other:
        return f"{write_points(value / abs(other))} %"
    dollars = f"{metric.unit} " if metric.kind == "ratio" else ""
    return f"{dollars}{write_number(value)}"
