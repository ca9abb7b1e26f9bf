"""The attempts at one group's merge: what is asked next, and how the group ends.

Everything here depends on the group and the replies alone, so that it does not matter in which
session a reply was received.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

from mergeit_async.engine.caller import GaveUp, Judgement
from mergeit_async.engine.faults import RULES
from mergeit_async.engine.requests import Requests
from mergeit_async.merging.information import DIGITS
from mergeit_async.merging.judge import Scores, is_better
from mergeit_async.merging.verdict import Inspection
from mergeit_async.records import (
    ChatReply,
    ChatRequest,
    Example,
    Group,
    Outcome,
    Refusal,
    Status,
)

ACCEPTED = "accepted"
# Through both gates, and still to be scored by the judge.
PASSED = "passed"


class Scored(NamedTuple):
    """What a judge gave to a merged row, and to each of its sources."""

    merged: Scores
    sources: tuple[Scores, ...]


class Tokens(NamedTuple):
    """What all replies to a group took; `cached` of the `prompt` tokens were in a cache."""

    prompt: int
    completion: int
    cached: int


class Attempt(NamedTuple):
    """A reply that was not accepted: its text, what is wrong with it, and how near it came."""

    text: str
    refusal: Refusal
    defects: tuple[str, ...]
    scores: Mapping[str, Any] | None
    rank: tuple[bool, float]


class Course:
    """One group on its way: a first request, then repairs of the best attempt, or new draws."""

    def __init__(
        self,
        group: Group,
        requests: Requests,
        max_attempts: int,
        *,
        is_judged: bool = False,
        is_metered: bool = False,
    ) -> None:
        self.group = group
        self.attempts = 0
        self.request: ChatRequest = requests.merge(group, 0)
        # Set while a merge that passed both gates waits for its scores.
        self.passed: Example | None = None
        # They stay the same for each merge of the group.
        self.source_scores: tuple[Scores, ...] = ()
        self._requests = requests
        self._max_attempts = max_attempts
        self._is_judged = is_judged
        self._tokens: Tokens | None = Tokens(0, 0, 0)
        self._is_metered = is_metered
        self._is_mending = False
        self._best: Attempt | None = None
        self._last: tuple[str, Inspection] = ("", Inspection(Refusal("", "")))

    def take(self, reply: ChatReply, inspection: Inspection) -> Judgement:
        """The next attempt has been answered and looked at."""
        self.attempts += 1
        self._tokens = add_tokens(self._tokens, reply)
        self._last = reply.text, inspection
        result = inspection.result
        if isinstance(result, Refusal):
            rank = (False, inspection.rank)
            self._refuse(result, inspection.defects, inspection.scores, rank)
            outcome = self._end() if self._is_over else None
            return Judgement(result.reason, outcome, result.detail, inspection.scores)
        if self._is_judged:
            self.passed = result
            return Judgement(PASSED, scores=inspection.scores)
        return Judgement(ACCEPTED, self._accept(result, inspection.scores))

    def score(self, scored: Scored | Refusal) -> Outcome | None:
        """The judge has been heard on what `passed`; the outcome, if that settles the group.

        The paper's rule (arXiv 2503.00034): better than the mean of its sources, or asked again.
        """
        assert self.passed is not None, "nothing has passed"
        merged, self.passed = self.passed, None
        _, inspection = self._last
        if isinstance(scored, Refusal):
            # Nobody can say that the merge is better: no further merge would change that.
            return self._conclude(scored, inspection.scores)
        scores = {**(inspection.scores or {}), "judge": describe(scored)}
        if is_better(scored.merged, scored.sources):
            return self._accept(merged, scores)
        self._refuse(not_better(scored), (), scores, (True, scored.merged.product))
        return self._end() if self._is_over else None

    def draw_anew(self) -> bool:
        """Ask for a new merge instead of a repair that the server does not take, if it was one."""
        was_mending, self._is_mending = self._is_mending, False
        if was_mending:
            self.request = self._requests.merge(self.group, self.attempts)
        return was_mending

    @property
    def _is_over(self) -> bool:
        return self.attempts >= self._max_attempts

    def _accept(self, merged: Example, scores: Mapping[str, Any] | None) -> Outcome:
        return self._conclude(merged, scores)

    def _refuse(
        self,
        refusal: Refusal,
        defects: tuple[str, ...],
        scores: Mapping[str, Any] | None,
        rank: tuple[bool, float],
    ) -> None:
        text, _ = self._last
        if self._best is None or rank >= self._best.rank:
            self._best = Attempt(text, refusal, defects, scores, rank)
        if not self._is_over:
            self.request = self._next(self._best)

    def _next(self, best: Attempt) -> ChatRequest:
        """The best attempt is mended, not the last; one without a known defect is drawn anew."""
        self._is_mending = bool(best.defects) and self._requests.can_repair
        if self._is_mending:
            return self._requests.repair(self.group, self.attempts, best.text, best.defects)
        return self._requests.merge(self.group, self.attempts)

    def _end(self) -> Outcome:
        """The originals stay, for what was wrong with the best attempt."""
        assert self._best is not None, "an end without any attempt"
        return self._conclude(self._best.refusal, self._best.scores)

    def give_up(self, end: GaveUp) -> Outcome:
        """The outcome of a group to whose next request no reply can be had."""
        status = Status.KEPT if RULES[end.fault.kind].verdict else Status.FAILED
        reason, detail = str(end.fault.kind), end.fault.excerpt
        return Outcome(
            self.group.position,
            self.group.id,
            status,
            self.attempts,
            reason=reason,
            detail=detail,
            scores=self._metered(None),
        )

    def _conclude(self, result: Example | Refusal, scores: Mapping[str, Any] | None) -> Outcome:
        return conclude(self.group, self.attempts, result, self._metered(scores))

    def _metered(self, scores: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if not self._is_metered:
            return scores
        return {**(scores or {}), "tokens": self._tokens and self._tokens._asdict()}


def conclude(
    group: Group, attempts: int, result: Example | Refusal, scores: Mapping[str, Any] | None
) -> Outcome:
    """The outcome of a group that comes to this result."""
    if isinstance(result, Example):
        return Outcome(
            group.position, group.id, Status.MERGED, attempts, merged=result, scores=scores
        )
    return Outcome(
        group.position,
        group.id,
        Status.KEPT,
        attempts,
        reason=result.reason,
        detail=result.detail,
        scores=scores,
    )


def add_tokens(sum_: Tokens | None, reply: ChatReply) -> Tokens | None:
    """The tokens with those of one more reply; None where its server does not tell."""
    if sum_ is None or reply.prompt_tokens is None or reply.completion_tokens is None:
        return None
    return Tokens(
        sum_.prompt + reply.prompt_tokens,
        sum_.completion + reply.completion_tokens,
        sum_.cached + (reply.cached_tokens or 0),
    )


def not_better(scored: Scored) -> Refusal:
    """The refusal of a merge that does not beat its sources."""
    mean = fmean(source.product for source in scored.sources)
    return Refusal(
        "not_better", f"scored {scored.merged.product:.2f}, and its sources {mean:.2f} on average"
    )


def describe(scored: Scored) -> dict[str, Any]:
    """The judge's scores as JSON values."""
    return {
        "merged": rounded(scored.merged),
        "sources": [rounded(source) for source in scored.sources],
    }


def rounded(scores: Scores) -> dict[str, float]:
    """Scores as JSON values."""
    return {name: round(value, DIGITS) for name, value in scores._asdict().items()}
