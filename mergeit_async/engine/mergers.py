"""From one group to its outcome: by a model's replies, or by keyless composition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from mergeit_async.engine.caller import Caller, GaveUp, Judgement
from mergeit_async.engine.course import Course, conclude
from mergeit_async.engine.faults import RULES
from mergeit_async.engine.inspector import Inspector
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.referee import Referee
from mergeit_async.engine.requests import Requests
from mergeit_async.errors import FaultKind
from mergeit_async.records import ChatReply, Group, Outcome

# What a merge begins with.
Draft = TypeVar("Draft")


class Merger(Protocol[Draft]):
    """Brings one group to its end and commits that to the journal."""

    def draft(self, planned: PlannedGroup) -> Draft:
        """A group with all that its merge begins with."""
        ...

    async def merge(self, draft: Draft) -> Outcome:
        """The outcome of a group, durable."""
        ...

    def stop(self, error: Exception) -> None:
        """Ask for nothing more; `error` is raised where a merge needs a further call."""


class ComposeMerger:
    """Composes a group's rows into one without any model (`offline/compose`)."""

    def __init__(
        self,
        load_group: Callable[[PlannedGroup], Group],
        journal: Journal,
        inspector: Inspector,
    ) -> None:
        self._load_group = load_group
        self._journal = journal
        self._inspector = inspector

    def draft(self, planned: PlannedGroup) -> Group:
        """A group with its rows."""
        return self._load_group(planned)

    async def merge(self, group: Group) -> Outcome:
        """The composition of `group`, or its originals where the gates refuse that."""
        found = await self._inspector.inspect(None, group.rows)
        outcome = conclude(group, 1, found.result, found.scores)
        await self._journal.add_outcome(outcome)
        return outcome

    def stop(self, error: Exception) -> None:
        """A composition ends by itself."""


class ChatMerger:
    """Asks a model: accept, else have it mended or ask again, else the originals stay."""

    def __init__(
        self,
        load_group: Callable[[PlannedGroup], Group],
        requests: Requests,
        caller: Caller,
        journal: Journal,
        inspector: Inspector,
        max_attempts: int,
        referee: Referee | None = None,
        *,
        is_metered: bool = False,
    ) -> None:
        """`is_metered` has the tokens of its replies beside the scores of each group."""
        self._load_group = load_group
        self._requests = requests
        self._caller = caller
        self._journal = journal
        self._inspector = inspector
        self._max_attempts = max_attempts
        self._referee = referee
        self._is_metered = is_metered
        self._given_up: list[int] = []
        self._error: Exception | None = None

    def draft(self, planned: PlannedGroup) -> Course:
        """A group with its rows, and its first request."""
        group = self._load_group(planned)
        return Course(
            group,
            self._requests,
            self._max_attempts,
            is_judged=self._referee is not None,
            is_metered=self._is_metered,
        )

    async def merge(self, course: Course) -> Outcome:
        """The first accepted merge of a group, or its originals after `max_attempts` replies."""
        try:
            while (outcome := await self._attempt(course)) is None:
                pass
            return outcome
        except GaveUp as end:
            if is_of_payload(end) and course.draw_anew():
                return await self.merge(course)
            outcome = course.give_up(end)
            self._given_up.append(outcome.position)
            await self._journal.add_outcome(outcome)
            if self._error is not None:  # stopped meanwhile: this group is open again
                self._journal.drop_outcomes([outcome.position])
                raise self._error from end
            return outcome

    def stop(self, error: Exception) -> None:
        """Send nothing more; what is in flight is finished.

        Groups given up since the last success may owe that to what stops the run: they are open
        again.
        """
        self._error = error
        self._caller.stop(error)
        self._journal.drop_outcomes(self._given_up)
        self._given_up.clear()

    async def _attempt(self, course: Course) -> Outcome | None:
        """One more reply, and the judge's word on it if it gets so far."""
        outcome = (await self._draw(course)).outcome
        if self._referee is None or course.passed is None:
            return outcome
        outcome = course.score(await self._referee.compare(course))
        if outcome is not None:
            await self._journal.add_outcome(outcome)
        return outcome

    async def _draw(self, course: Course) -> Judgement:
        """Look at the reply to the next request, known from earlier or asked for now."""

        async def judge(reply: ChatReply) -> Judgement:
            self._given_up.clear()
            return course.take(reply, await self._inspector.inspect(reply, course.group.rows))

        reply = self._journal.known_reply(course.request.key)
        if reply is None:
            return await self._caller.call(course.group.position, course.request, judge)
        judgement = await judge(reply)
        if judgement.outcome is not None:
            await self._journal.add_outcome(judgement.outcome)
        return judgement


def is_of_payload(end: GaveUp) -> bool:
    """Whether what ended a request lies in its own text or size, so that another may pass."""
    return end.fault.kind is FaultKind.TOO_LARGE or RULES[end.fault.kind].verdict
