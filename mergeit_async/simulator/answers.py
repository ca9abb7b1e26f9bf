"""HTTP answers of the simulated server as bytes: JSON, and errors with OpenAI's body."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import orjson

from mergeit_async.simulator.settings import RetryAfterStyle

INVALID = "invalid_request_error"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_WEEK_S = 7 * 24 * 3600


@dataclass(slots=True)  # not frozen: made for each request
class Answer:
    """One answer; `headers` are those beside its type and length."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


def write_head(answer: Answer, length: int | None, *, closes: bool = False) -> bytes:
    """Everything before the body; `length` is the one to claim, None to claim none."""
    head = _begin_head(answer.status, answer.content_type, closes, int(time.time()))
    for name, value in answer.headers.items():
        head += f"{name}: {value}\r\n".encode()
    return head + (b"\r\n" if length is None else b"Content-Length: %d\r\n\r\n" % length)


def error_answer(
    status: int,
    message: str,
    *,
    type_: str,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error as OpenAI words it: {"error": {message, type, param, code}}."""
    error = {"message": message, "type": type_, "param": param, "code": code}
    return Answer(status, orjson.dumps({"error": error}), headers or {})


def retry_after(style: RetryAfterStyle, wait_s: float) -> dict[str, str]:
    """The header that asks a client to wait `wait_s` seconds; whole seconds are rounded up."""
    match style:
        case "ms":
            return {"retry-after-ms": str(math.ceil(wait_s * 1000))}
        case "date":
            return {"Retry-After": _http_date(math.ceil(time.time() + wait_s))}
        case "seconds":
            return {"Retry-After": str(math.ceil(wait_s))}
        case "week":
            return {"Retry-After": str(_WEEK_S)}
        case "none":
            return {}


@lru_cache(maxsize=16)
def _begin_head(status: int, content_type: str, closes: bool, unix_s: int) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}",
        f"Date: {_http_date(unix_s)}",
        f"Content-Type: {content_type}",
        *(["Connection: close"] if closes else []),
    ]
    return "\r\n".join([*lines, ""]).encode()


def _http_date(unix_s: int) -> str:
    return formatdate(unix_s, usegmt=True)
