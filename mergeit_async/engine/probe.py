"""How the servers of a run take what not all servers take, found out before the first merge.

A form is used where every server honours it: one that refuses it (400), fails on it (5xx), or
takes it and answers as if nothing had been asked, is noticed, and the next form is tried. The
calls go through the same slots, budget and journal as all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson

from mergeit_async.config import Settings
from mergeit_async.engine.caller import Caller, GaveUp, Judgement
from mergeit_async.engine.faults import stop_for
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.lane import Lane
from mergeit_async.engine.prompts import Prompts
from mergeit_async.engine.requests import LOGPROBS, PLAIN, SAMPLES, Requests
from mergeit_async.errors import FaultKind
from mergeit_async.ids import preamble_id, request_key
from mergeit_async.merging.messages import build_response_format, estimate_tokens
from mergeit_async.merging.parse import parse_reply
from mergeit_async.records import ChatReply, ChatRequest, Example, Message

# What the journal calls these calls: they belong to no group.
POSITION = -1
HONOURED, IGNORED = "honoured", "ignored"
TRIES = 4
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
# A server that answers so does not take the request as it is.
REFUSALS = (FaultKind.BAD_REQUEST, FaultKind.SERVER, FaultKind.MALFORMED)


class Probe:
    """Asks each server that is there, one form after the other."""

    def __init__(self, caller: Caller, journal: Journal, lanes: Sequence[Lane]) -> None:
        self._caller = caller
        self._journal = journal
        self._lanes = lanes

    async def settle(self, settings: Settings, prompts: Prompts) -> dict[str, str]:
        """The forms to ask in, by the names that `Requests` has for them."""
        forms = {"form": await self._settle_form(settings, prompts.merge.schema)}
        if prompts.judge is not None:
            score = Requests(settings, prompts, scores=LOGPROBS).score
            has_logprobs = await self._is_honoured(lambda at: score(ROW, at), has_choices)
            forms["scores"] = LOGPROBS if has_logprobs else SAMPLES
        return forms

    async def _settle_form(self, settings: Settings, schema: Mapping[str, object]) -> str:
        if settings.structured_output != "auto":
            return settings.structured_output
        for form in FORMS:
            honours = has_fields if form == "json_schema" else is_object
            response_format = build_response_format(form, schema)

            def build(at: int, response_format: bytes = response_format) -> ChatRequest:
                return ask(settings, response_format, at)

            if await self._is_honoured(build, honours):
                return form
        return PLAIN

    async def _is_honoured(
        self, build: Callable[[int], ChatRequest], honours: Callable[[ChatReply], bool]
    ) -> bool:
        for at, lane in enumerate(self._lanes):
            if not lane.is_out and not await self._asks(build(at), lane, honours):
                return False
        return True

    async def _asks(
        self, request: ChatRequest, lane: Lane, honours: Callable[[ChatReply], bool]
    ) -> bool:
        """Whether this server honours what `request` asks for."""

        async def judge(reply: ChatReply) -> Judgement:
            return Judgement(HONOURED if honours(reply) else IGNORED)

        if (known := self._journal.known_reply(request.key)) is not None:
            return honours(known)
        others = [other.name for other in self._lanes if other is not lane]
        try:
            judgement = await self._caller.call(
                POSITION, request, judge, max_tries=TRIES, avoid=others
            )
        except GaveUp as end:
            if end.fault.kind in REFUSALS:
                return False
            raise stop_for(end.fault) from end
        return judgement.verdict == HONOURED


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


def has_choices(reply: ChatReply) -> bool:
    """Whether a reply came with the probabilities of its tokens."""
    return bool(reply.choices)
