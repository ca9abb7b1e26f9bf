"""Faults of the exchange itself: wrong statuses, broken bodies, broken connections, silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson

from mergeit_async.simulator.answers import (
    INVALID,
    Answer,
    error_answer,
    retry_after,
    write_head,
)
from mergeit_async.simulator.chance import Dice, Mix
from mergeit_async.simulator.exchange import Exchange
from mergeit_async.simulator.floods import flood, gzip_bomb, in_chunks
from mergeit_async.simulator.settings import SimulatorSettings

# How much a wrong Content-Length is off.
_MISSING_BYTES = 100


@dataclass(frozen=True, slots=True)
class Case:
    """What a fault has to work with: the good answer it spoils, the way out, and the settings.

    `count` is to be called where the good answer goes out after all.
    """

    exchange: Exchange
    good: Answer
    settings: SimulatorSettings
    count: Callable[[], None]


Spoil = Callable[[Case], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: how it answers, and its weight in the default mix (0: only by name)."""

    spoil: Spoil
    share: float = 0.0


class FaultPlan:
    """Which arrivals meet which fault: a function of the seed and the number of the arrival."""

    def __init__(self, settings: SimulatorSettings, dice: Dice) -> None:
        """Raises UsageError for an unknown kind or rates that make no sense."""
        shares = {kind: fault.share for kind, fault in FAULTS.items()}
        self._mix = Mix(shares, settings.fault_rate, settings.faults)
        self._dice = dice
        self.is_empty = self._mix.is_empty

    def due(self, arrival: bytes) -> str | None:
        """The kind of fault that the arrival with this key meets, or None."""
        return self._mix.pick(self._dice, b"fault", arrival)


def _error(
    status: int, message: str, type_: str, code: str | None = None, param: str | None = None
) -> Spoil:
    answer = error_answer(status, f"{message} (injected).", type_=type_, code=code, param=param)
    return lambda case: case.exchange.answer(answer)


def _page(status: int, title: str) -> Spoil:
    page = f"<html><head><title>{status} {title}</title></head><body>nginx</body></html>"
    answer = Answer(status, page.encode(), content_type="text/html; charset=utf-8")
    return lambda case: case.exchange.answer(answer)


def _limit_rate(case: Case) -> None:
    settings = case.settings
    answer = error_answer(
        429,
        "Rate limit reached (injected). Please try again later.",
        type_="requests",
        code="rate_limit_exceeded",
        headers=retry_after(settings.retry_after_style, settings.fault_retry_after_s),
    )
    case.exchange.answer(answer)


def _redirect(case: Case) -> None:
    case.exchange.answer(Answer(307, b"", {"Location": case.settings.redirect_to}))


def _hang(case: Case) -> None:
    case.exchange.later(case.settings.hang_s, lambda: _answer_after_all(case))


def _answer_after_all(case: Case) -> None:
    case.count()
    case.exchange.answer(case.good)


def _be_stuck(case: Case) -> None:
    """Until the caller hangs up."""


def _drip(case: Case) -> None:
    case.exchange.write(write_head(case.good, len(case.good.body)))
    case.exchange.stream(_drops(case), case.settings.drip_interval_s)


def _drops(case: Case) -> Iterator[bytes]:
    for position in range(len(case.good.body)):
        yield case.good.body[position : position + 1]
    case.count()


def _reset(case: Case) -> None:
    case.exchange.reset()


def _close_mid_body(case: Case) -> None:
    body = case.good.body
    case.exchange.write(write_head(case.good, len(body)) + body[: len(body) // 2])
    case.exchange.close()


def _claim_more(case: Case) -> None:
    body = case.good.body
    case.exchange.write(write_head(case.good, len(body) + _MISSING_BYTES) + body)
    case.exchange.close()


def _claim_less(case: Case) -> None:
    body = case.good.body
    case.exchange.write(write_head(case.good, max(0, len(body) - _MISSING_BYTES)) + body)
    case.exchange.end()


def _truncate_json(case: Case) -> None:
    case.exchange.answer(Answer(200, case.good.body[: len(case.good.body) // 2]))


def _send_no_json(case: Case) -> None:
    text = b"upstream connect error or disconnect/reset before headers"
    case.exchange.answer(Answer(200, text, content_type="text/plain; charset=utf-8"))


def _send_no_choices(case: Case) -> None:
    case.exchange.answer(Answer(200, orjson.dumps(orjson.loads(case.good.body) | {"choices": []})))


def _send_flood(case: Case) -> None:
    case.exchange.write(write_head(Answer(200, b"", {"Transfer-Encoding": "chunked"}), None))
    case.exchange.stream(in_chunks(flood(case.settings.huge_bytes)))


def _send_bomb(case: Case) -> None:
    length, pieces = gzip_bomb(case.settings.bomb_bytes)
    case.exchange.write(write_head(Answer(200, b"", {"Content-Encoding": "gzip"}), length))
    case.exchange.stream(pieces)


# Every transport fault: its kind, how it is made, and its weight in the default mix.
FAULTS: Mapping[str, Fault] = {
    "rate_limit": Fault(_limit_rate, share=3),
    "server": Fault(_error(500, "The server had an error", "server_error"), share=2),
    "bad_gateway": Fault(_page(502, "Bad Gateway"), share=1),
    "unavailable": Fault(_error(503, "The engine is restarting", "service_unavailable"), share=1),
    "overloaded": Fault(_error(529, "Overloaded", "overloaded_error"), share=1),
    "hang": Fault(_hang, share=0.5),
    "reset": Fault(_reset, share=1),
    "close_mid_body": Fault(_close_mid_body, share=1),
    "truncated_json": Fault(_truncate_json, share=1),
    "not_json": Fault(_send_no_json, share=1),
    "empty_choices": Fault(_send_no_choices, share=1),
    "quota": Fault(
        _error(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota")
    ),
    "unauthorized": Fault(_error(401, "Incorrect API key provided", INVALID, "invalid_api_key")),
    "forbidden": Fault(
        _error(403, "Country not supported", "request_forbidden", "unsupported_country_region")
    ),
    "model_not_found": Fault(
        _error(404, "The model does not exist", INVALID, "model_not_found", "model")
    ),
    "context_length": Fault(
        _error(400, "The prompt is too long", INVALID, "context_length_exceeded", "messages")
    ),
    "bad_request": Fault(_error(400, "Unsupported value", INVALID, "unsupported_value", "seed")),
    "request_timeout": Fault(_error(408, "The request took too long", "timeout")),
    "conflict": Fault(_error(409, "The resource is locked", "conflict_error")),
    "too_large": Fault(_error(413, "The request is too large", INVALID)),
    "gateway_timeout": Fault(_page(504, "Gateway Time-out")),
    "stuck": Fault(_be_stuck),
    "drip": Fault(_drip),
    "long_content_length": Fault(_claim_more),
    "short_content_length": Fault(_claim_less),
    "huge": Fault(_send_flood),
    "gzip_bomb": Fault(_send_bomb),
    "redirect": Fault(_redirect),
}
