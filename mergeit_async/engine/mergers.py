"""From one group to its outcome: by a model's replies, or by keyless composition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from mergeit_async.config import Settings
from mergeit_async.engine.caller import Caller, GaveUp, Judgement
from mergeit_async.engine.faults import RULES
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.merging.compose import compose
from mergeit_async.merging.gate import check_merge
from mergeit_async.merging.messages import build_request
from mergeit_async.merging.verdict import judge_reply
from mergeit_async.records import (
    ChatReply,
    ChatRequest,
    Example,
    Group,
    Outcome,
    Refusal,
    Status,
)
from mergeit_async.templates.version import PromptVersion

# What a merge begins with.
Draft = TypeVar("Draft")
ACCEPTED = "accepted"
# For prompts that name none; the temperature is the paper's.
DEFAULT_PARAMETERS: dict[str, float | int] = {"temperature": 0.25, "max_output_tokens": 4096}


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

    def __init__(self, load_group: Callable[[PlannedGroup], Group], journal: Journal) -> None:
        self._load_group = load_group
        self._journal = journal

    def draft(self, planned: PlannedGroup) -> Group:
        """A group with its rows."""
        return self._load_group(planned)

    async def merge(self, group: Group) -> Outcome:
        """The composition of `group`, or its originals where the gate refuses that."""
        composed = compose(group.rows)
        result = check_merge(composed, group.rows) or composed
        outcome = conclude(group, 1, result)
        await self._journal.add_outcome(outcome)
        return outcome

    def stop(self, error: Exception) -> None:
        """A composition ends by itself."""


class ChatMerger:
    """Asks a model, in the paper's order: accept, else ask again, else the originals stay.

    What a reply leads to depends on group, sample number and reply alone, so that it does not
    matter in which run it was received.
    """

    def __init__(
        self,
        load_group: Callable[[PlannedGroup], Group],
        build: Callable[[Group, int], ChatRequest],
        caller: Caller,
        journal: Journal,
        max_attempts: int,
    ) -> None:
        self._load_group = load_group
        self._build = build
        self._caller = caller
        self._journal = journal
        self._max_attempts = max_attempts
        self._given_up: list[int] = []
        self._error: Exception | None = None

    def draft(self, planned: PlannedGroup) -> tuple[Group, ChatRequest]:
        """A group with its rows, and its first request."""
        group = self._load_group(planned)
        return group, self._build(group, 0)

    async def merge(self, draft: tuple[Group, ChatRequest]) -> Outcome:
        """The first accepted merge of a group, or its originals after `max_attempts` replies."""
        group, request = draft
        sample = 0
        while True:
            try:
                judgement = await self._draw(group, request)
            except GaveUp as end:
                outcome = give_up(group, sample, end)
                self._given_up.append(outcome.position)
                await self._journal.add_outcome(outcome)
                if self._error is not None:  # stopped meanwhile: this group is open again
                    self._journal.drop_outcomes([outcome.position])
                    raise self._error from end
                return outcome
            if judgement.outcome is not None:
                return judgement.outcome
            sample += 1
            request = self._build(group, sample)

    def stop(self, error: Exception) -> None:
        """Send nothing more; what is in flight is finished.

        Groups given up since the last success may owe that to what stops the run: they are open
        again.
        """
        self._error = error
        self._caller.stop(error)
        self._journal.drop_outcomes(self._given_up)
        self._given_up.clear()

    async def _draw(self, group: Group, request: ChatRequest) -> Judgement:
        """Judge the reply to `request`, known from earlier or asked for now."""

        def judge(reply: ChatReply) -> Judgement:
            return self._judge(group, request.sample, reply)

        reply = self._journal.known_reply(request.key)
        if reply is None:
            return await self._caller.call(group.position, request, judge)
        judgement = judge(reply)
        if judgement.outcome is not None:
            await self._journal.add_outcome(judgement.outcome)
        return judgement

    def _judge(self, group: Group, sample: int, reply: ChatReply) -> Judgement:
        self._given_up.clear()
        result = judge_reply(reply, group.rows)
        is_last = sample + 1 >= self._max_attempts
        verdict = result.reason if isinstance(result, Refusal) else ACCEPTED
        settled = verdict == ACCEPTED or is_last
        return Judgement(verdict, conclude(group, sample + 1, result) if settled else None)


def conclude(group: Group, attempts: int, result: Example | Refusal) -> Outcome:
    """The outcome of a group whose last reply gave `result`."""
    if isinstance(result, Example):
        return Outcome(group.position, group.id, Status.MERGED, attempts, merged=result)
    return Outcome(
        group.position,
        group.id,
        Status.KEPT,
        attempts,
        reason=result.reason,
        detail=result.detail,
    )


def give_up(group: Group, attempts: int, end: GaveUp) -> Outcome:
    """The outcome of a group for which no reply can be had.

    The server's verdict on the payload keeps the originals for good; anything else is a failure
    that a later run may retry.
    """
    kind = end.fault.kind
    status = Status.KEPT if RULES[kind].verdict else Status.FAILED
    return Outcome(
        group.position, group.id, status, attempts, reason=str(kind), detail=end.fault.excerpt
    )


def request_builder(
    settings: Settings, prompt: PromptVersion
) -> Callable[[Group, int], ChatRequest]:
    """What turns a group and a sample number into the request to send."""
    defaults = DEFAULT_PARAMETERS | dict(prompt.parameters)
    temperature = settings.temperature
    limit = settings.max_output_tokens

    def build(group: Group, sample: int) -> ChatRequest:
        return build_request(
            prompt,
            group,
            endpoint=settings.endpoint,
            model=settings.model,
            temperature=float(defaults["temperature"] if temperature is None else temperature),
            max_output_tokens=int(defaults["max_output_tokens"] if limit is None else limit),
            sample=sample,
        )

    return build
