"""The way to a server through a proxy: one aiohttp session, which knows proxies well."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Mapping

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from mergeit_async.providers.answer import MAX_HEAD_BYTES, Answer, BadAnswer, most_bytes
from mergeit_async.providers.fault_kinds import CLIENT_FAILURES

# Above this size aiohttp wants a stream, so that one write does not hold up the event loop.
_MAX_INLINE_BYTES = 2**20
_DNS_TTL_S = 300


class Proxied:
    """One session through `proxy`; None, for a direct way, is for tests."""

    def __init__(
        self,
        proxy: URL | None,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
    ) -> None:
        """`tls` is None for plain HTTP. There are as many connections as there are calls."""
        # Not `trust_env`: it reads the environment and .netrc in two threads at each request, and
        # an entry in .netrc collides with the key.
        self._proxy = proxy
        self._headers = CIMultiDict(headers)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=_DNS_TTL_S, ssl=tls or True),
            # The time limit is around the whole call, see `send`.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
        )

    async def send(self, method: str, url: URL, body: bytes, timeout_s: float) -> Answer:
        """See `Transport`; it also raises aiohttp's own errors, all in CLIENT_FAILURES."""
        request = self._session.request(
            method,
            url,
            data=io.BytesIO(body) if len(body) > _MAX_INLINE_BYTES else body or None,
            # Per request, never as the session's default: aiohttp would send that to a proxy.
            headers=self._headers,
            allow_redirects=False,
            proxy=self._proxy,
        )
        async with asyncio.timeout(timeout_s), request as response:
            return await _read_answer(response)

    async def close(self) -> None:
        """Close the session and all its connections."""
        await self._session.close()


async def _read_answer(response: aiohttp.ClientResponse) -> Answer:
    limit, chunks, size = most_bytes(response.status), [], 0
    broken: Exception | None = None
    try:
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise BadAnswer(f"the answer is larger than {limit} bytes")
    except CLIENT_FAILURES as error:
        broken = error
        response.close()
    headers = {
        name.lower().decode("latin-1"): value.decode("latin-1")
        for name, value in response.raw_headers
    }
    return Answer(response.status, headers, b"".join(chunks), broken)
