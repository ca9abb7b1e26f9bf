"""Asks a judge which of two merges is better, through the same slots and journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mergeit_async.engine.caller import Caller, Judgement
from mergeit_async.engine.journal import Journal
from mergeit_async.merging.pairwise import (
    PairJudge,
    Preference,
    build_preference_request,
    read_preference,
)
from mergeit_async.records import ChatReply, Example, Refusal, Row

# Replies for one question; those that cannot be read are asked for again.
MOST_REPLIES = 3
# 1 for the merge that is shown first.
VALUES: Mapping[Preference, float] = MappingProxyType(
    {Preference.A: 1.0, Preference.B: -1.0, Preference.TIE: 0.0}
)


class Preferring:
    """Asks `model` by `prompt`; a question that was answered before is not asked again."""

    def __init__(
        self, prompt: PairJudge, model: str, endpoint: str, caller: Caller, journal: Journal
    ) -> None:
        self._prompt = prompt
        self._model = model
        self._endpoint = endpoint
        self._caller = caller
        self._journal = journal

    async def compare(
        self, place: int, sources: Sequence[Row], first: Example, second: Example
    ) -> float | None:
        """1 where the row that is shown `first` is taken, -1 for the `second`, 0 for a tie.

        Equal rows are a tie without asking. None where no reply can be read. Raises `GaveUp` and
        `StoppedError` as `Caller.call` does.
        """
        if first == second:
            return 0.0
        for sample in range(MOST_REPLIES):
            found = await self._ask(place, sources, (first, second), sample)
            if not isinstance(found, Refusal):
                return VALUES[found]
        return None

    async def _ask(
        self, place: int, sources: Sequence[Row], shown: tuple[Example, Example], sample: int
    ) -> Preference | Refusal:
        request = build_preference_request(
            self._prompt,
            sources,
            *shown,
            endpoint=self._endpoint,
            model=self._model,
            sample=sample,
        )
        known = self._journal.own_reply(request.key) or self._journal.known_reply(request.key)
        if known is not None:
            return read_preference(known.text)
        found: list[Preference | Refusal] = []

        async def judge(reply: ChatReply) -> Judgement:
            found.append(read_preference(reply.text))
            return describe(found[0])

        await self._caller.call(place, request, judge)
        return found[0]


def describe(found: Preference | Refusal) -> Judgement:
    """What the journal keeps of one reply."""
    if isinstance(found, Refusal):
        return Judgement(found.reason, None, found.detail)
    return Judgement(f"prefers_{found.lower()}")
