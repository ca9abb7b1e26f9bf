"""The default chat provider: the chat-completions protocol over one aiohttp session.

complete → within the time limit, errors translated → exchange → send → read → judge
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from mergeit_async import __version__
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.providers.address import find_proxy, parse_api_key, parse_base_url
from mergeit_async.providers.completion import read_reply, write_request
from mergeit_async.providers.fault_kinds import (
    CLIENT_FAILURES,
    classify_failure,
    classify_status,
    excerpt,
)
from mergeit_async.providers.retry_after import read_retry_after
from mergeit_async.records import ChatReply, ChatRequest

__all__ = ["CHECK_TIMEOUT_S", "MAX_REPLY_BYTES", "HttpChat", "parse_api_key", "parse_base_url"]

MAX_REPLY_BYTES = 16 * 2**20
CHECK_TIMEOUT_S = 10.0

_MAX_ERROR_BYTES = 64 * 2**10
# Above this size aiohttp wants a stream, so that one write does not hold up the event loop.
_MAX_INLINE_BYTES = 2**20
_DNS_TTL_S = 300
_FAILS_CHECK = (FaultKind.AUTH, FaultKind.CONNECTION, FaultKind.TIMEOUT)

_T = TypeVar("_T")


class HttpChat:
    """Chat completions from one server, without retries: `async with HttpChat(...) as chat`.

    The API key appears in the Authorization header to this server and nowhere else.
    """

    def __init__(self, base_url: str, api_key: str | None, max_connections: int) -> None:
        """`max_connections` should be the largest number of calls in flight.

        Raises UsageError for an unusable base URL, key or proxy setting.
        """
        base = URL(parse_base_url(base_url))
        self._base = base
        self._completions_url = base / "chat/completions"
        self._models_url = base / "models"
        self._key = parse_api_key(api_key)
        self._headers = _build_headers(self._key)
        # Not `trust_env`: it reads the environment and .netrc in two threads at each request, and
        # an entry in .netrc collides with the key.
        self._proxy = find_proxy(base)
        # OpenAI's reasoning models refuse `max_tokens`; most other servers know only that.
        openai = base.host == "api.openai.com"
        self._limit_name = "max_completion_tokens" if openai else "max_tokens"
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"HttpChat({str(self._base)!r})"

    async def __aenter__(self) -> Self:
        """Open the session; connections are made when they are needed."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._max_connections, ttl_dns_cache=_DNS_TTL_S),
            # The time limit is around the whole call, see `_guard`.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session and all its connections."""
        if self._session is not None:
            await self._session.close()

    async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
        """The reply to `request`, from one attempt within `timeout_s` seconds.

        A reply that was cut off, filtered or refused is a reply; see its finish reason. Raises
        ProviderError for whatever goes wrong with the exchange.
        """
        return await self._guard(self._exchange(request), timeout_s)

    async def check(self) -> None:
        """Ask for the list of models. Many servers lack it: any answer but a refused key is fine.

        Raises ProviderError of kind AUTH, CONNECTION or TIMEOUT.
        """
        try:
            await self._guard(self._probe(), CHECK_TIMEOUT_S)
        except ProviderError as error:
            if error.kind in _FAILS_CHECK:
                raise

    async def _guard(self, exchange: Awaitable[_T], timeout_s: float) -> _T:
        """The one place where errors of aiohttp and the system become ours."""
        try:
            async with asyncio.timeout(timeout_s):
                return await exchange
        except CLIENT_FAILURES as error:
            kind = classify_failure(error)
            text = str(error) or type(error).__name__
        if kind is FaultKind.TIMEOUT:
            text = f"no whole answer within {timeout_s:g} s"
        # Outside the except block: aiohttp's errors hold the request's headers with the key, and
        # would hang on to ours as its context.
        raise ProviderError(kind, excerpt(text, self._key))

    async def _exchange(self, request: ChatRequest) -> ChatReply:
        body = write_request(request, self._limit_name)
        async with self._send("POST", self._completions_url, body) as response:
            if response.status >= 300:
                raise await self._judge(response)
            content = await _read_capped(response, MAX_REPLY_BYTES)
        reply = read_reply(content) if len(content) <= MAX_REPLY_BYTES else None
        if reply is None:
            raise self._fault(FaultKind.MALFORMED, response, content)
        return reply

    async def _probe(self) -> None:
        async with self._send("GET", self._models_url) as response:
            if response.status not in (401, 403):
                return
            fault = await self._judge(response)
        # OpenAI can bar a restricted key from this list alone ("Missing scopes: ...").
        if "missing scopes" not in fault.excerpt.lower():
            raise fault

    def _send(
        self, method: str, url: URL, body: bytes | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("HttpChat is not open; use it in an `async with` block")
        data = io.BytesIO(body) if body and len(body) > _MAX_INLINE_BYTES else body
        return self._session.request(
            method,
            url,
            data=data,
            # Per request, never as the session's default: aiohttp would send that to a proxy.
            headers=self._headers,
            allow_redirects=False,
            proxy=self._proxy,
        )

    async def _judge(self, response: aiohttp.ClientResponse) -> ProviderError:
        """The fault that an answer without success stands for."""
        if 300 <= response.status < 400:
            return ProviderError(
                FaultKind.BAD_REQUEST, _describe_redirect(response), status=response.status
            )
        content = b""
        with suppress(*CLIENT_FAILURES):  # the status says enough
            content = await _read_capped(response, _MAX_ERROR_BYTES)
        return self._fault(classify_status(response.status, content), response, content)

    def _fault(
        self, kind: FaultKind, response: aiohttp.ClientResponse, content: bytes
    ) -> ProviderError:
        return ProviderError(
            kind,
            excerpt(content.decode(errors="replace"), self._key),
            status=response.status,
            retry_after_s=read_retry_after(response.headers, time.time()),
        )


def _build_headers(key: str | None) -> CIMultiDict[str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        # Replies are a few kilobytes: unpacking them costs more than receiving them.
        "Accept-Encoding": "identity",
        "User-Agent": f"mergeit-async/{__version__}",
    }
    return CIMultiDict(headers | {"Authorization": f"Bearer {key}"} if key else headers)


async def _read_capped(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, or its beginning if it is longer than `limit`; then the connection is closed."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            response.close()
            break
    return b"".join(chunks)


def _describe_redirect(response: aiohttp.ClientResponse) -> str:
    target = response.url.join(URL(response.headers.get("Location", ""))).host
    return (
        f"the server redirects to host {target}; redirects are not followed, correct the base URL"
    )
