"""Scores merged rows and their sources by a judge model, through the same slots and journal."""

from __future__ import annotations

from weakref import WeakValueDictionary

import anyio

from mergeit_async.engine.caller import Caller, Judgement
from mergeit_async.engine.course import Course, Scored, rounded
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.requests import Requests
from mergeit_async.merging.judge import Scores, mean_scores, read_scores
from mergeit_async.records import ChatReply, Example, Refusal, Row

SCORED = "scored"
# Without the probabilities of the tokens, the mean of so many samples stands for the expectation.
SAMPLES = 3
# Replies that may be unusable, for each row.
SPARE = 2


class Referee:
    """Asks the judge; a row that was scored before, by content, is not asked about again."""

    def __init__(self, requests: Requests, caller: Caller, journal: Journal) -> None:
        self._requests = requests
        self._caller = caller
        self._journal = journal
        # Equal rows at the same time are asked about once.
        self._asked: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def compare(self, course: Course) -> Scored | Refusal:
        """The scores of the merge that `passed` and of its sources; a refusal if one has none.

        Raises `GaveUp` and `StoppedError` as `Caller.call` does.
        """
        assert course.passed is not None, "nothing to score"
        position = course.group.position
        merged = await self.score(position, course.passed)
        if isinstance(merged, Refusal):
            return merged
        for row in course.group.rows[len(course.source_scores) :]:
            source = await self.score(position, row)
            if isinstance(source, Refusal):
                return source
            course.source_scores += (source,)
        return Scored(merged, course.source_scores)

    async def score(self, position: int, row: Row | Example) -> Scores | Refusal:
        """The scores of one row, or why the last reply about it cannot be used."""
        needed = 1 if self._requests.has_logprobs else SAMPLES
        readings: list[Scores] = []
        refusal = Refusal("judge_unreadable", "the judge gave no scores")
        for sample in range(needed + SPARE):
            reading = await self._read(position, row, sample)
            if isinstance(reading, Refusal):
                refusal = reading
                continue
            readings.append(reading)
            if len(readings) == needed:
                break
        return mean_scores(readings) if readings else refusal

    async def _read(self, position: int, row: Row | Example, sample: int) -> Scores | Refusal:
        request = self._requests.score(row, sample)
        found: list[Scores | Refusal] = []

        async def judge(reply: ChatReply) -> Judgement:
            found.append(read_scores(reply))
            return describe(found[0])

        async with self._asked.setdefault(request.key, anyio.Lock()):
            key = request.key
            reply = self._journal.own_reply(key) or self._journal.known_reply(key)
            if reply is None:
                await self._caller.call(position, request, judge)
            else:
                await judge(reply)
        return found[0]


def describe(reading: Scores | Refusal) -> Judgement:
    """What the journal keeps of one reply of the judge."""
    if isinstance(reading, Refusal):
        return Judgement(reading.reason, None, reading.detail)
    return Judgement(SCORED, scores=rounded(reading))
