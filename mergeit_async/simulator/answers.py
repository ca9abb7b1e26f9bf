"""HTTP responses of the simulated server: JSON, and errors with OpenAI's body."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import formatdate

import orjson
from aiohttp import web

from mergeit_async.simulator.settings import RetryAfterStyle

_JSON = {"Content-Type": "application/json"}


def json_answer(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response with this JSON body."""
    return web.Response(
        body=body, status=status, headers={**_JSON, **headers} if headers else _JSON
    )


def error_answer(
    status: int,
    message: str,
    *,
    type_: str,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error as OpenAI words it: {"error": {message, type, param, code}}."""
    error = {"message": message, "type": type_, "param": param, "code": code}
    return json_answer(orjson.dumps({"error": error}), status, headers)


def retry_after(style: RetryAfterStyle, wait_s: float) -> dict[str, str]:
    """The header that asks a client to wait `wait_s` seconds; whole seconds are rounded up."""
    if style == "ms":
        return {"retry-after-ms": str(math.ceil(wait_s * 1000))}
    if style == "date":
        return {"Retry-After": formatdate(math.ceil(time.time() + wait_s), usegmt=True)}
    if style == "seconds":
        return {"Retry-After": str(math.ceil(wait_s))}
    return {}
