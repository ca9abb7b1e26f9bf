"""Which kind of fault it was: every HTTP status and every error of the client in our own terms."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
from aiohttp.http_exceptions import HttpProcessingError

from mergeit_async.errors import FaultKind

EXCERPT_CHARS = 300
# How much of an answer is looked at for an excerpt; indentation and markup can waste some of it.
_EXCERPT_SOURCE_CHARS = 4096

# All that an exchange can raise for reasons outside this program. OSError covers sockets, TLS,
# DNS and TimeoutError; ValueError covers BadAnswer, undecodable text, JSON and URLs.
CLIENT_FAILURES = (
    aiohttp.ClientError,
    HttpProcessingError,
    OSError,
    EOFError,
    ValueError,
)

# What a status means by itself; the body of some refines it. All others from 500 on are the
# server's fault, and all others below it the request's: redirects too, as none is followed.
_KINDS_BY_STATUS = {
    401: FaultKind.AUTH,
    402: FaultKind.QUOTA,
    403: FaultKind.AUTH,
    404: FaultKind.NOT_FOUND,
    407: FaultKind.CONNECTION,  # the proxy's refusal, an obstacle on the way
    408: FaultKind.TIMEOUT,
    409: FaultKind.SERVER,
    410: FaultKind.NOT_FOUND,
    413: FaultKind.CONTEXT_LENGTH,  # a verdict on this payload, whatever unit it is measured in
    425: FaultKind.SERVER,
    429: FaultKind.RATE_LIMIT,
    501: FaultKind.NOT_FOUND,
}
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_FILTER_CODES = frozenset(
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
)
# OpenAI and vLLM; then llama.cpp, and others behind compatible gateways.
_CONTEXT_PHRASES = (
    "context_length_exceeded",
    "maximum context length",
    "context size",
    "context window",
    "prompt is too long",
    "input is too long",
)


def classify_status(status: int, body: bytes) -> FaultKind:
    """The kind of an answer whose status is not 2xx."""
    if status < 200:  # no end of any exchange here
        return FaultKind.MALFORMED
    if status == 429 and _read_codes(body) & _QUOTA_CODES:
        return FaultKind.QUOTA
    # OpenAI's answer to a request above the whole limit of a minute: it never fits.
    if status == 429 and b"request too large" in body.lower():
        return FaultKind.CONTEXT_LENGTH
    if status in (400, 422):
        return _classify_bad_request(body)
    other = FaultKind.SERVER if status >= 500 else FaultKind.BAD_REQUEST
    return _KINDS_BY_STATUS.get(status, other)


def classify_failure(error: Exception) -> FaultKind:
    """The kind of an error of CLIENT_FAILURES; the more special classes come first."""
    if isinstance(error, TimeoutError):
        return FaultKind.TIMEOUT
    # A proxy that refuses the tunnel is an obstacle on the way, not an answer.
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return FaultKind.CONNECTION
    # A certificate that does not verify is an OSError and a ValueError.
    if isinstance(error, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)):
        return FaultKind.CONNECTION
    return FaultKind.MALFORMED


def excerpt(text: str, secret: str | None = None) -> str:
    """The first 300 characters of `text` on one line, without control characters or `secret`."""
    for spelling in _spellings(secret):
        text = text.replace(spelling, "***")
    head = text[:_EXCERPT_SOURCE_CHARS]
    printable = "".join(letter if letter.isprintable() else " " for letter in head)
    return " ".join(printable.split())[:EXCERPT_CHARS]


def _spellings(secret: str | None) -> set[str]:
    if not secret:
        return set()
    return {secret, orjson.dumps(secret)[1:-1].decode(), secret.replace("/", "\\/")}


def _classify_bad_request(body: bytes) -> FaultKind:
    if _read_codes(body) & _FILTER_CODES:
        return FaultKind.CONTENT_FILTER
    text = body.decode(errors="replace").lower()
    if any(phrase in text for phrase in _CONTEXT_PHRASES):
        return FaultKind.CONTEXT_LENGTH
    return FaultKind.BAD_REQUEST


def _read_codes(body: bytes) -> set[str]:
    """The codes and types an error body gives, in lower case; Azure nests a second one."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return set()
    error = _member(value, "error") or value
    inner = _member(error, "innererror")
    codes = (_member(error, "code"), _member(error, "type"), _member(inner, "code"))
    return {code.lower() for code in codes if isinstance(code, str)}


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
