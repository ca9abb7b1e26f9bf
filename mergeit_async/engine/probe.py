"""How the servers of a run take what not all servers take, found out before the first merge.

A form is used where every server honours it: one that refuses it (400), fails on it (5xx), or
takes it and answers as if nothing had been asked, is noticed, and the next form is tried. What
one server made of a form says nothing about another, so each has its own keys in the journal. The
calls go through the same slots and budget as all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

import orjson

from mergeit_async.config import Settings
from mergeit_async.engine.caller import Caller, Judgement
from mergeit_async.engine.faults import RULES, stop_for
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.lane import Lane
from mergeit_async.engine.requests import LOGPROBS, PLAIN, SAMPLES, Requests
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.ids import digest, preamble_id, request_key
from mergeit_async.merging.messages import estimate_tokens
from mergeit_async.merging.parse import parse_reply
from mergeit_async.records import ChatReply, ChatRequest, Example, Message

# What the journal calls these calls: they belong to no group.
POSITION = -1
HONOURED, IGNORED = "honoured", "ignored"
MOST_TOKENS = 1024
# From the strictest on; plain text needs no probe.
FORMS = ("json_schema", "json_object")
# Asked for prose: a server that answers with an object does so because of the form. OpenAI takes
# json_object only where the word JSON stands somewhere.
QUESTION = Message(
    "user",
    "In one short sentence: which planet of the solar system is the largest? (JSON is welcome.)",
)
ROW = Example("Name the largest planet of the solar system.", "", "It is Jupiter.")
# How often a server may fail on a form before it is asked without one, and fail on all before it
# counts as not there.
TRIES = 4
TRIES_TO_REACH = 8
# What a request can meet that has a form which the server does not take, beside a refusal.
MAY_BE_THE_FORM = (FaultKind.SERVER, FaultKind.MALFORMED)

Honours = Callable[[ChatReply], bool]


class Answer(Enum):
    """What one server makes of a form; ABSENT says nothing about it."""

    HONOURS = auto()
    REFUSES = auto()
    ABSENT = auto()


class Probe:
    """Asks each server that is there, one form after the other.

    A fault alone says nothing about a form: only where the same server takes the same question
    without it.
    """

    def __init__(self, caller: Caller, journal: Journal, lanes: Sequence[Lane]) -> None:
        self._caller = caller
        self._journal = journal
        self._lanes = lanes
        self._fault = ProviderError(FaultKind.CONNECTION, "no server is there")

    async def settle(self, settings: Settings, requests: Requests) -> dict[str, str]:
        """The forms to ask in, as `Requests.settle` takes them.

        Raises `StoppedError` where no server answers, or none takes the judge's work.
        """
        forms = {"form": await self.settle_form(settings, requests)}
        if settings.judge:
            forms["scores"] = await self.settle_scores(requests)
        return forms

    async def settle_scores(self, requests: Requests) -> str:
        """How to ask the judge for scores."""
        requests.settle(PLAIN, SAMPLES)
        plain = requests.score(ROW, 0)
        requests.settle(PLAIN, LOGPROBS)
        is_honoured = await self._is_honoured(requests.score(ROW, 0), plain, has_choices)
        return LOGPROBS if is_honoured else SAMPLES

    async def settle_form(self, settings: Settings, requests: Requests) -> str:
        """How to ask for merges."""
        if settings.structured_output != "auto":
            return settings.structured_output
        plain = ask(settings, b"")
        for form in FORMS:
            honours = has_fields if form == "json_schema" else is_object
            request = ask(settings, requests.response_format(form))
            if await self._is_honoured(request, plain, honours):
                return form
        return PLAIN

    async def _is_honoured(
        self, request: ChatRequest, plain: ChatRequest, honours: Honours
    ) -> bool:
        """Whether all servers that take `plain` honour what `request` asks for beside it.

        One that takes neither is left to itself: others do without it. Raises `StoppedError`
        where all are like that.
        """
        answers = set()
        for lane in self._lanes:
            answer = await self._ask(lane, request, plain, honours)
            if answer is Answer.REFUSES:
                return False
            answers.add(answer)
        if Answer.HONOURS not in answers:
            raise stop_for(self._fault, f"{RULES[self._fault.kind].advice} (model {request.model})")
        return True

    async def _ask(
        self, lane: Lane, request: ChatRequest, plain: ChatRequest, honours: Honours
    ) -> Answer:
        """What this server makes of `request`."""
        has_failed_beside = False
        for faults in range(1, TRIES_TO_REACH + 1):
            if lane.is_out:
                break
            heard = await self._hear(lane, request, honours)
            if isinstance(heard, ChatReply):
                return Answer.HONOURS if honours(heard) else Answer.REFUSES
            self._fault = heard
            rule = RULES[heard.kind]
            if rule.of_server:
                break
            if not rule.retry or (heard.kind in MAY_BE_THE_FORM and faults >= TRIES):
                witness = await self._hear(lane, plain, always, is_new=rule.retry)
                if isinstance(witness, ChatReply):
                    if has_failed_beside or not rule.retry:
                        return Answer.REFUSES
                    has_failed_beside = True
                elif not RULES[witness.kind].retry:
                    break
            await self._caller.pause(heard, faults)
        return Answer.ABSENT

    async def _hear(
        self, lane: Lane, request: ChatRequest, honours: Honours, *, is_new: bool = False
    ) -> ChatReply | ProviderError:
        """The answer of this very server, to be had now if it `is_new`, else maybe from before."""
        request = request._replace(key=digest(["probe", lane.name, request.key]))
        known = self._journal.own_reply(request.key) or self._journal.known_reply(request.key)
        if known is not None and not is_new:
            return known
        heard: list[ChatReply] = []

        async def judge(reply: ChatReply) -> Judgement:
            heard.append(reply)
            return Judgement(HONOURED if honours(reply) else IGNORED)

        others = [other.name for other in self._lanes if other is not lane]
        try:
            await self._caller.attempt(POSITION, request, judge, others)
        except ProviderError as fault:
            return fault
        return heard[0]


def ask(settings: Settings, response_format: bytes) -> ChatRequest:
    """The question, to be answered in this form."""
    parameters: dict[str, float | int | str] = {
        "max_tokens": MOST_TOKENS,
        "response_format": response_format.decode(),
    }
    return ChatRequest(
        key=request_key(
            endpoint=settings.endpoint,
            model=settings.model,
            preamble=preamble_id(()),
            turn=QUESTION,
            parameters=parameters,
            sample=0,
        ),
        model=settings.model,
        messages=(QUESTION,),
        temperature=0.0,
        max_tokens=MOST_TOKENS,
        sample=0,
        estimated_prompt_tokens=estimate_tokens(QUESTION.content, response_format.decode()),
        response_format=response_format,
    )


def has_fields(reply: ChatReply) -> bool:
    """Whether a reply keeps to the schema of a row."""
    return isinstance(parse_reply(reply.text), Example)


def is_object(reply: ChatReply) -> bool:
    """Whether a reply is one JSON object and nothing else."""
    try:
        return isinstance(orjson.loads(reply.text), dict)
    except orjson.JSONDecodeError:
        return False


def always(reply: ChatReply) -> bool:
    """Any answer will do."""
    return True


def has_choices(reply: ChatReply) -> bool:
    """Whether a reply came with the probabilities of its tokens."""
    return bool(reply.choices)
