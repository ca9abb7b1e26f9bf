"""What the simulated server does with each request.

POST /v1/chat/completions   GET /v1/models   GET /stats[?digests=0]   POST /stats/reset

A chat request is counted, checked for its key, parsed, charged to the limits, delayed, met by a
fault if one is due, and else answered.
"""

from __future__ import annotations

import asyncio
import hmac
import time

import orjson
from aiohttp import web

from mergeit_async.simulator.answers import error_answer, json_answer, retry_after
from mergeit_async.simulator.buckets import Limits, Rejection
from mergeit_async.simulator.calls import ChatCall, read_call
from mergeit_async.simulator.chance import Dice, stretch
from mergeit_async.simulator.faults import FAULTS, Exchange, FaultPlan
from mergeit_async.simulator.replies import ChatAnswer, Replier
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.stats import Stats, body_digest

_INVALID = "invalid_request_error"


class Endpoint:
    """Answers requests as the settings say, and counts them in `stats`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        """Raises UsageError for fault kinds or rates that make no sense."""
        self.stats = Stats()
        self._settings = settings
        self._dice = Dice(settings.seed)
        self._plan = FaultPlan(settings, self._dice)
        self._replier = Replier(settings, self._dice)
        self._limits = Limits(settings, time.monotonic())
        # Not the count in `stats`: after a reset, a run must not meet the same faults again.
        self._next_arrival = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of any kind."""
        # Clients may hold a base URL with or without the version.
        match request.method, request.path.removeprefix("/v1"):
            case "POST", "/chat/completions":
                return await self._chat(request)
            case "GET", "/models":
                return self._refuse_key(request) or self._list_models()
            case "GET", "/stats":
                digests = request.query.get("digests") != "0"
                return json_answer(orjson.dumps(self.stats.snapshot(digests)))
            case "POST", "/stats/reset":
                self.stats.reset()
                return json_answer(b"{}")
            case method, _:
                message = f"Unknown request URL: {method} {request.path}."
                return error_answer(404, message, type_=_INVALID, code="unknown_url")

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        digest = body_digest(body)
        number = self._next_arrival
        self._next_arrival += 1
        self.stats.arrive(digest, time.monotonic())
        try:
            call = self._accept(request, body)
            if not isinstance(call, ChatCall):
                self.stats.rejected[call.status] += 1
                return call
            return await self._answer(request, call, digest, number.to_bytes(8, "little"))
        finally:
            self.stats.leave()

    def _accept(self, request: web.BaseRequest, body: bytes) -> ChatCall | web.Response:
        if refusal := self._refuse_key(request):
            return refusal
        try:
            call = read_call(body)
        except ValueError as error:
            return error_answer(400, f"Invalid request: {error}.", type_=_INVALID)
        return self._refuse_model(call) or self._refuse_over_limit(call) or call

    async def _answer(
        self, request: web.BaseRequest, call: ChatCall, digest: bytes, arrival: bytes
    ) -> web.StreamResponse:
        headers = self._limits.headers(time.monotonic())
        await self._wait_latency(arrival)
        answer = self._replier.answer(call, digest)
        kind = self._plan.due(arrival)
        if kind is None:
            self._count(answer, digest)
            return json_answer(answer.body, headers=headers)
        self.stats.faults[kind] += 1
        response = await FAULTS[kind].spoil(Exchange(request, answer.body, self._settings))
        if FAULTS[kind].answers:
            self._count(answer, digest)
        return response

    async def _wait_latency(self, arrival: bytes) -> None:
        if median_s := self._settings.latency_s:
            roll = self._dice.roll(b"latency", arrival)
            await asyncio.sleep(stretch(median_s, self._settings.latency_sigma, roll))

    def _count(self, answer: ChatAnswer, digest: bytes) -> None:
        now_s = time.monotonic()
        self._limits.settle(answer.completion_tokens, now_s)
        self.stats.answer(digest, answer.prompt_tokens, answer.completion_tokens, now_s)
        if answer.fault is not None:
            self.stats.content_faults[answer.fault] += 1

    def _list_models(self) -> web.Response:
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}
            for name in self._settings.models
        ]
        return json_answer(orjson.dumps({"object": "list", "data": models}))

    def _refuse_key(self, request: web.BaseRequest) -> web.Response | None:
        expected = self._settings.api_key
        if expected is None:
            return None
        given = request.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {expected}".encode()):
            return None
        message = "Incorrect API key provided."
        return error_answer(401, message, type_=_INVALID, code="invalid_api_key")

    def _refuse_model(self, call: ChatCall) -> web.Response | None:
        if not self._settings.models or call.model in self._settings.models:
            return None
        message = f"The model `{call.model}` does not exist."
        return error_answer(404, message, type_=_INVALID, param="model", code="model_not_found")

    def _refuse_over_limit(self, call: ChatCall) -> web.Response | None:
        now_s = time.monotonic()
        rejection = self._limits.admit(call.prompt_tokens, call.max_tokens or 0, now_s)
        if rejection is None:
            return None
        headers = self._limits.headers(now_s)
        if rejection.wait_s is not None:
            headers |= retry_after(self._settings.retry_after_style, rejection.wait_s)
        return error_answer(
            429,
            _describe(rejection),
            type_=rejection.limit,
            code="rate_limit_exceeded",
            headers=headers,
        )


def _describe(rejection: Rejection) -> str:
    limit = f"{rejection.limit} per minute: limit {rejection.per_minute:g}"
    if rejection.wait_s is None:
        return f"Request too large for {limit}."
    return f"Rate limit reached for {limit}. Please try again in {rejection.wait_s:.3f}s."
