"""The addresses of the simulated server, with or without /v1 before them.

POST /v1/chat/completions   GET /v1/models
GET /stats[?digests=0]      POST /stats/reset      POST /control
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from mergeit_async.errors import UsageError
from mergeit_async.simulator.answers import INVALID, Answer, error_answer
from mergeit_async.simulator.chat import Chat, refuse_key
from mergeit_async.simulator.connection import Connections
from mergeit_async.simulator.control import CHANGEABLE, change_settings, read_downtime
from mergeit_async.simulator.exchange import Exchange
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.stats import Stats
from mergeit_async.simulator.wire import Request

_CONTROL = "/control"


class Endpoint:
    """Answers requests of any kind; `stats` counts those to chat."""

    def __init__(self, settings: SimulatorSettings, started_s: float) -> None:
        """Raises UsageError for fault kinds or rates that make no sense."""
        self.stats = Stats(started_s)
        self.connections = Connections(self.handle, self.stats.refuse_connection)
        self._chat = Chat(settings, self.stats)
        self._end_of_downtime: asyncio.Handle | None = None
        self._routes = {
            ("POST", "/chat/completions"): self._chat.receive,
            ("GET", "/models"): self._list_models,
            ("GET", "/stats"): self._tell_stats,
            ("POST", "/stats/reset"): self._reset_stats,
            ("POST", _CONTROL): self._control,
        }

    def handle(self, request: Request, exchange: Exchange) -> None:
        """Answer one request, now or later."""
        path = request.path.removeprefix("/v1")
        if self.connections.are_shut and path != _CONTROL:
            exchange.close()
        elif act := self._routes.get((request.method, path)):
            act(request, exchange)
        else:
            message = f"Unknown request URL: {request.method} {request.path}."
            exchange.answer(error_answer(404, message, type_=INVALID, code="unknown_url"))

    def change(self, changes: Mapping[str, Any], asker: Exchange | None = None) -> None:
        """Take these changes, all or none; must run in the server's event loop.

        The connection of `asker` stays when the server goes down. Raises UsageError for names and
        values that make no sense.
        """
        settings = {name: value for name, value in changes.items() if name != "down"}
        downtime_s = read_downtime(changes.get("down", False))
        self._chat.change(change_settings(self._chat.settings, settings))
        if "down" in changes:
            self._come_back()
            if downtime_s != 0.0:
                self._go_down(downtime_s, asker)

    def _go_down(self, downtime_s: float | None, asker: Exchange | None) -> None:
        self.connections.shut(spared=asker)
        if downtime_s is not None:
            loop = asyncio.get_running_loop()
            self._end_of_downtime = loop.call_later(downtime_s, self._come_back)

    def _come_back(self) -> None:
        self.connections.reopen()
        if self._end_of_downtime is not None:
            self._end_of_downtime.cancel()
            self._end_of_downtime = None

    def _control(self, request: Request, exchange: Exchange) -> None:
        try:
            changes = orjson.loads(request.body)
            if not isinstance(changes, dict):
                raise UsageError("A change of the simulator must be a JSON object.")
            self.change(changes, exchange)
        except (orjson.JSONDecodeError, UsageError) as error:
            exchange.answer(error_answer(400, str(error), type_=INVALID))
        else:
            exchange.answer(Answer(200, orjson.dumps(self._changeable())))

    def _changeable(self) -> dict[str, Any]:
        now = {name: getattr(self._chat.settings, name) for name in CHANGEABLE}
        return now | {"down": self.connections.are_shut}

    def _list_models(self, request: Request, exchange: Exchange) -> None:
        settings = self._chat.settings
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}
            for name in settings.models
        ]
        listed = Answer(200, orjson.dumps({"object": "list", "data": models}))
        exchange.answer(refuse_key(request, settings.api_key) or listed)

    def _tell_stats(self, request: Request, exchange: Exchange) -> None:
        digests = parse_qs(request.query).get("digests") != ["0"]
        exchange.answer(Answer(200, orjson.dumps(self.stats.snapshot(digests))))

    def _reset_stats(self, request: Request, exchange: Exchange) -> None:
        self.stats.reset()
        exchange.answer(Answer(200, b"{}"))
