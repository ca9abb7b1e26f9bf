"""How the servers of a run take what not all servers take, found out before the first merge.

A form is used where every server honours it: one that refuses it (400), fails on it (5xx), or
takes it and answers as if nothing had been asked, is noticed, and the next form is tried. The
calls go through the same slots, budget and journal as all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial

import orjson

from mergeit_async.config import Settings
from mergeit_async.engine.caller import Caller, Judgement
from mergeit_async.engine.faults import RULES, stop_for
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.lane import Lane
from mergeit_async.engine.requests import LOGPROBS, PLAIN, SAMPLES, Requests
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.ids import preamble_id, request_key
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
# How often a server may fail to answer before it counts as refusing, or as not there.
TRIES = 4
TRIES_TO_REACH = 8
# What a request can meet that has a form which the server does not take.
MAY_BE_THE_FORM = (FaultKind.SERVER, FaultKind.MALFORMED)


Build = Callable[[int], ChatRequest]
Honours = Callable[[ChatReply], bool]


class Answer(Enum):
    """What one server makes of a form; ABSENT says nothing about it."""

    HONOURS = auto()
    REFUSES = auto()
    ABSENT = auto()


class Probe:
    """Asks each server that is there, one form after the other."""

    def __init__(self, caller: Caller, journal: Journal, lanes: Sequence[Lane]) -> None:
        self._caller = caller
        self._journal = journal
        self._lanes = lanes

    async def settle(self, settings: Settings, requests: Requests) -> dict[str, str]:
        """The forms to ask in, as `Requests.settle` takes them.

        Raises `StoppedError` where no server answers at all.
        """
        forms = {"form": await self._settle_form(settings, requests)}
        if settings.judge:
            requests.settle(PLAIN, LOGPROBS)
            is_honoured = await self._is_honoured(partial(requests.score, ROW), has_choices)
            forms["scores"] = LOGPROBS if is_honoured else SAMPLES
        return forms

    async def _settle_form(self, settings: Settings, requests: Requests) -> str:
        if settings.structured_output != "auto":
            return settings.structured_output
        for form in FORMS:
            honours = has_fields if form == "json_schema" else is_object
            build = partial(ask, settings, requests.response_format(form))
            if await self._is_honoured(build, honours, partial(ask, settings, b"")):
                return form
        return PLAIN

    async def _is_honoured(
        self, build: Build, honours: Honours, plain: Build | None = None
    ) -> bool:
        """Whether all servers that take the work honour what `build` asks for.

        One that does not take `plain` either refuses all work: others do without it.
        """
        for at, lane in enumerate(self._lanes):
            if lane.is_out or await self._ask(build(at), lane, honours) is not Answer.REFUSES:
                continue
            if plain is None or len(self._lanes) == 1:
                return False
            if await self._ask(plain(at), lane, always) is Answer.HONOURS:
                return False
        return True

    async def _ask(self, request: ChatRequest, lane: Lane, honours: Honours) -> Answer:
        """What this server makes of `request`."""
        heard = self._journal.known_reply(request.key)
        faults = 0

        async def judge(reply: ChatReply) -> Judgement:
            nonlocal heard
            heard = reply
            return Judgement(HONOURED if honours(reply) else IGNORED)

        while heard is None:
            others = [other.name for other in self._lanes if other is not lane]
            try:
                await self._caller.attempt(POSITION, request, judge, others)
            except ProviderError as fault:
                faults += 1
                if answer := self._conclude(lane, fault, faults):
                    return answer
                await self._caller.pause(fault, faults)
        return Answer.HONOURS if honours(heard) else Answer.REFUSES

    def _conclude(self, lane: Lane, fault: ProviderError, faults: int) -> Answer | None:
        """What a fault says; None where another try may say more."""
        rule = RULES[fault.kind]
        if fault.kind in MAY_BE_THE_FORM:
            return Answer.REFUSES if faults >= TRIES else None
        if rule.retry and faults < TRIES_TO_REACH:
            return None
        if not (rule.retry or rule.of_server):
            return Answer.REFUSES
        if all(other.is_out for other in self._lanes if other is not lane):
            raise stop_for(fault)
        return Answer.ABSENT


def ask(settings: Settings, response_format: bytes, sample: int) -> ChatRequest:
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
            sample=sample,
        ),
        model=settings.model,
        messages=(QUESTION,),
        temperature=0.0,
        max_tokens=MOST_TOKENS,
        sample=sample,
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
