"""Faults of the exchange itself: wrong statuses, broken bodies, broken connections, silence."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from mergeit_async.simulator.answers import error_answer, json_answer, retry_after
from mergeit_async.simulator.chance import Dice, Mix
from mergeit_async.simulator.settings import SimulatorSettings


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a fault has to work with: the request, the good answer it spoils, and the settings."""

    request: web.BaseRequest
    body: bytes
    settings: SimulatorSettings


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: how it answers, and its weight in the default mix (0: only by name).

    `answers` tells that a good answer goes out in the end.
    """

    spoil: Callable[[Exchange], Awaitable[web.StreamResponse]]
    share: float
    answers: bool = False


class FaultPlan:
    """Which arrivals meet which fault: a function of the seed and the number of the arrival."""

    def __init__(self, settings: SimulatorSettings, dice: Dice) -> None:
        """Raises UsageError for an unknown kind or rates that make no sense."""
        shares = {kind: fault.share for kind, fault in FAULTS.items()}
        self._mix = Mix(shares, settings.fault_rate, settings.faults)
        self._dice = dice

    def due(self, arrival: bytes) -> str | None:
        """The kind of fault that the arrival with this key meets, or None."""
        return self._mix.pick(self._dice, b"fault", arrival)


async def _limit_rate(exchange: Exchange) -> web.StreamResponse:
    settings = exchange.settings
    return error_answer(
        429,
        "Rate limit reached (injected). Please try again later.",
        type_="requests",
        code="rate_limit_exceeded",
        headers=retry_after(settings.retry_after_style, settings.fault_retry_after_s),
    )


async def _fail(exchange: Exchange) -> web.StreamResponse:
    return error_answer(500, "The server had an error (injected).", type_="server_error")


async def _fail_at_gateway(exchange: Exchange) -> web.StreamResponse:
    page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
    return web.Response(status=502, text=page, content_type="text/html")


async def _be_unavailable(exchange: Exchange) -> web.StreamResponse:
    return error_answer(503, "The engine is restarting (injected).", type_="service_unavailable")


async def _be_overloaded(exchange: Exchange) -> web.StreamResponse:
    return error_answer(529, "Overloaded (injected).", type_="overloaded_error")


async def _hang(exchange: Exchange) -> web.StreamResponse:
    await asyncio.sleep(exchange.settings.hang_s)
    return json_answer(exchange.body)


async def _reset(exchange: Exchange) -> web.StreamResponse:
    transport = exchange.request.transport
    if transport is not None:
        # Lingering for zero seconds makes the kernel send RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()  # goes nowhere; aiohttp wants one


async def _close_mid_body(exchange: Exchange) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(exchange.body)
    await response.prepare(exchange.request)
    await response.write(exchange.body[: len(exchange.body) // 2])
    if exchange.request.transport is not None:
        exchange.request.transport.close()
    return response


async def _truncate_json(exchange: Exchange) -> web.StreamResponse:
    return json_answer(exchange.body[: len(exchange.body) // 2])


async def _send_no_json(exchange: Exchange) -> web.StreamResponse:
    return web.Response(text="upstream connect error or disconnect/reset before headers")


async def _send_no_choices(exchange: Exchange) -> web.StreamResponse:
    return json_answer(orjson.dumps(orjson.loads(exchange.body) | {"choices": []}))


# Every transport fault: its kind, how it is made, and its weight in the default mix.
FAULTS: Mapping[str, Fault] = {
    "rate_limit": Fault(_limit_rate, share=3),
    "server": Fault(_fail, share=2),
    "bad_gateway": Fault(_fail_at_gateway, share=1),
    "unavailable": Fault(_be_unavailable, share=1),
    "overloaded": Fault(_be_overloaded, share=1),
    "hang": Fault(_hang, share=0.5, answers=True),
    "reset": Fault(_reset, share=1),
    "close_mid_body": Fault(_close_mid_body, share=1),
    "truncated_json": Fault(_truncate_json, share=1),
    "not_json": Fault(_send_no_json, share=1),
    "empty_choices": Fault(_send_no_choices, share=1),
}
