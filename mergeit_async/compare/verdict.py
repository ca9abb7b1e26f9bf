"""What a comparison comes to, in a sentence that a person can act on; no winner without proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mergeit_async.compare.effects import ALL_EQUAL
from mergeit_async.compare.experiment import Comparison
from mergeit_async.compare.means import LEAST_GROUPS
from mergeit_async.compare.metrics import (
    COST_PER_MERGE,
    JUDGE_SCORE,
    PASSED,
    PREFERENCE,
    Effect,
    Metric,
)
from mergeit_async.compare.wording import (
    write_effect,
    write_groups,
    write_number,
    write_points,
)
from mergeit_async.errors import UsageError

# What decides which arm is better: the first of these that tells the arms apart is told first.
PRIMARY = (PASSED.name, PREFERENCE.name, JUDGE_SCORE.name)
COST = COST_PER_MERGE.name


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, in one sentence or two.

    `kind` is "win" where `winner` is better and not dearer, "trade" where what is better in one
    thing is worse in another, "cost" where only the cost differs, "none" where no difference is
    established, and "nothing" where no group could be compared. `better` is the arm of better
    quality, whatever it costs, and `cheaper` the one that costs less; None where neither is
    established.
    """

    kind: Literal["win", "trade", "cost", "none", "nothing"]
    sentence: str
    winner: str | None = None
    better: str | None = None
    cheaper: str | None = None


@dataclass(frozen=True, slots=True)
class _Finding:
    """An established effect: the arm that it speaks for, or that has more of what is no merit."""

    arm: str
    name: str
    words: str


def judge_pair(comparison: Comparison, primary: Sequence[str] = PRIMARY) -> Verdict:
    """The verdict on two arms; the metrics in `primary` decide, cost is weighed, others are told.

    An effect counts once it holds after Holm's correction.
    """
    decisive = [effect for name in primary if (effect := comparison.effect(name)) is not None]
    if not any(effect.n for effect in decisive):
        return Verdict("nothing", _say_nothing(comparison))
    found = _find(comparison)
    better = [finding for name in primary for finding in found if finding.name == name]
    cheaper = next((finding for finding in found if finding.name == COST), None)
    verdict = _weigh(comparison, better, cheaper)
    others = [finding for finding in found if finding not in (*better, cheaper)]
    if verdict.better is not None:  # where those that decide disagree, both sides are told
        others = [*better[1:], *others]
    if not others:
        return verdict
    told = "; ".join(f"{finding.arm} {finding.words}" for finding in others)
    return replace(verdict, sentence=f"{verdict.sentence} Also established: {told}.")


def judge_all(comparisons: Sequence[Comparison], primary: Sequence[str] = PRIMARY) -> Verdict:
    """The verdict on all arms together; of two it is that of their pair.

    An arm wins that is better than every other, and not dearer. Raises ValueError where nothing
    was compared.
    """
    if not comparisons:
        raise ValueError("a verdict needs a comparison of two arms")
    verdicts = [judge_pair(comparison, primary) for comparison in comparisons]
    if len(verdicts) == 1:
        return verdicts[0]
    if dead := _find_dead(comparisons, verdicts):
        return _leave_out(dead, comparisons, primary)
    arms = list(dict.fromkeys(arm for each in comparisons for arm in (each.a, each.b)))
    for arm in arms:
        if [verdict.better for verdict in verdicts].count(arm) == len(arms) - 1:
            return _say_best(arm, list(zip(comparisons, verdicts, strict=True)), primary)
    return _rank(arms, comparisons, verdicts)


def _find_dead(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[str]:
    """The arms of which nothing can be said beside any other."""
    said: dict[str, bool] = {}
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        for arm in (comparison.a, comparison.b):
            said[arm] = said.get(arm, False) or verdict.kind != "nothing"
    return [arm for arm, has_said in said.items() if not has_said]


def _leave_out(
    dead: Sequence[str], comparisons: Sequence[Comparison], primary: Sequence[str]
) -> Verdict:
    """The verdict on those arms that were measured, and which were not."""
    left = [each for each in comparisons if each.a not in dead and each.b not in dead]
    if not left:
        return Verdict("nothing", "No two arms have a group with a value in both: nothing is said.")
    verdict = judge_all(left, primary)
    arms = " and ".join(dead)
    missing = f"Nothing can be said of {arms}, see which calls failed. Of the others: "
    return replace(verdict, sentence=missing + verdict.sentence)


def check_comparable(metric: str, measured: Sequence[Metric]) -> None:
    """Raise UsageError where by `metric` no arm can be called worse than another."""
    fit = [each.name for each in measured if each.direction != "neither" and each.in_family]
    if metric not in fit:
        raise UsageError(
            f"No arm can be called worse by {metric!r}; choose among {', '.join(fit)}."
        )


def find_worse(comparisons: Sequence[Comparison], metric: str) -> list[tuple[str, str]]:
    """The arms established to be worse in `metric` than another: (worse, better).

    Raises UsageError for a metric that was not measured, or that has no better and worse.
    """
    known = {each.name: each for comparison in comparisons for each in comparison.metrics}
    check_comparable(metric, list(known.values()))
    worse = []
    for comparison in comparisons:
        effect = comparison.effect(metric)
        if effect is not None and effect.is_established:
            better = _favoured(comparison, effect, known[metric])
            worse.append((comparison.a if better == comparison.b else comparison.b, better))
    return worse


def _find(comparison: Comparison) -> list[_Finding]:
    found = []
    for effect, metric in zip(comparison.effects, comparison.metrics, strict=True):
        if effect.is_established:
            arm = _favoured(comparison, effect, metric)
            other, sign = (comparison.a, 1) if arm == comparison.b else (comparison.b, -1)
            found.append(_Finding(arm, metric.name, write_effect(effect, metric, other, sign)))
    return found


def _favoured(comparison: Comparison, effect: Effect, metric: Metric) -> str:
    """The arm that is better by this effect; of a metric without merit, the one with more."""
    is_more = (effect.estimate or 0.0) > 0
    return comparison.b if is_more == (metric.direction != "lower") else comparison.a


def _weigh(comparison: Comparison, better: list[_Finding], cheaper: _Finding | None) -> Verdict:
    if not better:
        return _say_even(comparison, cheaper)
    best = better[0]
    said = f"{best.arm} {best.words}"
    rival = next((finding for finding in better if finding.arm != best.arm), None)
    if rival is not None:
        return Verdict(
            "trade",
            f"{said}, but {rival.arm} {rival.words}: a trade without a winner; choose by what "
            "counts more.",
            cheaper=cheaper.arm if cheaper else None,
        )
    cost = comparison.effect(COST)
    if cheaper is None or cost is None:
        even = "; no difference of cost is established" if cost is not None and cost.n else ""
        return Verdict("win", f"{said}{even}: use {best.arm}.", best.arm, best.arm)
    if cheaper.arm == best.arm:
        sentence = f"{said} and {cheaper.words}: use {best.arm}."
        return Verdict("win", sentence, best.arm, best.arm, best.arm)
    dearer = write_effect(cost, COST_PER_MERGE, cheaper.arm, 1 if best.arm == comparison.b else -1)
    return Verdict(
        "trade",
        f"{said}, but {dearer}: a trade; use {best.arm} where its quality is worth the price, "
        f"else {cheaper.arm}.",
        better=best.arm,
        cheaper=cheaper.arm,
    )


def _say_even(comparison: Comparison, cheaper: _Finding | None) -> Verdict:
    a, b = comparison.a, comparison.b
    passed = next((each for each in comparison.effects if each.only_a is not None), None)
    n = passed.n if passed is not None else comparison.n_groups
    if n < LEAST_GROUPS:
        groups = "1 group is" if n == 1 else f"{write_groups(n)} are"
        said = f"{groups} too few to tell {a} and {b} apart; take {LEAST_GROUPS} at the very least"
    elif passed is not None and not passed.mean_a and not passed.mean_b:
        said = f"Neither {a} nor {b} passed in any of {write_groups(n)}: see why"
        return Verdict("none", f"{said}, and choose neither.")
    elif passed is not None and passed.note == ALL_EQUAL:
        said = f"{a} and {b} passed and failed in the same {write_groups(n)}"
    else:
        groups = write_groups(comparison.n_groups)
        said = f"No difference between {a} and {b} is established by these {groups}"
    if comparison.detectable is not None and n >= LEAST_GROUPS:
        said += (
            f"; differences of pass rate above {write_points(comparison.detectable)} points would "
            "have been found with power 0.8"
        )
    if cheaper is None:
        return Verdict(
            "none", f"{said}{_say_costs(comparison)}: choose either, or take more groups."
        )
    sentence = f"{said}. But {cheaper.arm} {cheaper.words}: choose {cheaper.arm} for its cost."
    return Verdict("cost", sentence, cheaper=cheaper.arm)


def _say_costs(comparison: Comparison) -> str:
    cost = comparison.effect(COST)
    if cost is None or not cost.mean_a or not cost.mean_b:
        return ""
    a, b = (f"{COST_PER_MERGE.unit} {write_number(mean)}" for mean in (cost.mean_a, cost.mean_b))
    return (
        f"; an accepted merge costs {a} with {comparison.a} and {b} with {comparison.b}, which is "
        "no established difference"
    )


def _say_nothing(comparison: Comparison) -> str:
    return (
        f"Nothing can be said of {comparison.a} and {comparison.b}: none of "
        f"{write_groups(comparison.n_groups)} has a value in both; see which calls failed."
    )


def _say_best(
    arm: str, pairs: Sequence[tuple[Comparison, Verdict]], primary: Sequence[str]
) -> Verdict:
    """The verdict where one arm is better than all others: a win, if none of them is cheaper."""
    reasons, cheaper = [], []
    for comparison, verdict in pairs:
        if arm not in (comparison.a, comparison.b):
            continue
        found = {finding.name: finding for finding in _find(comparison)}
        reasons.append(next(found[name].words for name in primary if name in found))
        if verdict.kind == "trade" and verdict.cheaper is not None:
            cheaper.append(verdict.cheaper)
    told = f"it {'; it '.join(reasons)}"
    if not cheaper:
        return Verdict("win", f"Use {arm}: {told}.", winner=arm, better=arm)
    return Verdict(
        "trade",
        f"{arm} is better than all others: {told}. But it costs more per accepted merge than "
        f"{_join(cheaper)}: a trade; use {arm} where its quality is worth the price.",
        better=arm,
    )


def _rank(
    arms: Sequence[str], comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]
) -> Verdict:
    """What is known where no arm is better than all others."""
    pairs = list(zip(comparisons, verdicts, strict=True))
    beaten: dict[str, str] = {}
    for comparison, verdict in pairs:
        if verdict.winner is not None:
            loser = comparison.a if verdict.winner == comparison.b else comparison.b
            beaten.setdefault(loser, verdict.winner)
    left = [arm for arm in arms if arm not in beaten]
    among = [verdict for each, verdict in pairs if each.a in left and each.b in left]
    cheaper = _cheapest(left, among)
    said = [f"{loser} is worse than {winner}" for loser, winner in beaten.items()]
    trades = any(verdict.kind == "trade" for verdict in among)
    kind: Literal["trade", "cost", "none"] = "trade" if trades else "cost" if cheaper else "none"
    said.append(_say_left(left, kind, cheaper))
    detectable = max((each.detectable or 0.0 for each in comparisons), default=0.0)
    if kind == "none" and not beaten and detectable:
        said.append(
            f"differences of pass rate above {write_points(detectable)} points would have been "
            "found with power 0.8"
        )
    return Verdict(kind, f"No single winner: {'; '.join(said)}.", cheaper=cheaper)


def _cheapest(left: Sequence[str], among: Sequence[Verdict]) -> str | None:
    """The arm that is established to be cheaper than all others that are left."""
    names = [verdict.cheaper for verdict in among]
    return next((arm for arm in left if names.count(arm) == len(left) - 1 and len(left) > 1), None)


def _say_left(left: Sequence[str], kind: str, cheaper: str | None) -> str:
    if not left:
        return "each arm is worse than another"
    if len(left) == 1:
        return f"{left[0]} is not shown to be better than every other, and worse than none"
    arms = _join(left)
    if kind == "trade":
        return f"between {arms} it is a trade of quality and cost"
    choice = (
        f"choose {cheaper} for its cost" if cheaper else "choose any of them, or take more groups"
    )
    return f"no difference in quality between {arms} is established: {choice}"


def _join(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
