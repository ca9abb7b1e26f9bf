from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import pytest

from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.providers.http import HttpChat
from tests.providers.conftest import Certificate
from tests.providers.raw_server import GOOD, KEY, Seen, http, listen, raw_server, request


@asynccontextmanager
async def tunnel() -> AsyncIterator[Seen]:
    """A proxy that opens tunnels and sees what goes through them."""
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.requests.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, back, seen), pump(there, writer, seen))

    async with listen(serve, seen):
        yield seen


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    with suppress(OSError):
        while part := await reader.read(2**16):
            seen.requests.append(part)
            writer.write(part)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
async def test_calls_go_through_the_tunnel_of_the_proxy_and_the_key_stays_inside(
    certificate: Certificate, direct: pytest.MonkeyPatch, name: str
) -> None:
    direct.setenv("SSL_CERT_FILE", str(certificate.path))
    direct.delenv("no_proxy")
    async with (
        tunnel() as proxy,
        raw_server(http(GOOD), keep=True, tls=certificate.server) as seen,
    ):
        direct.setenv(name, proxy.url)
        async with HttpChat(seen.url, KEY) as chat:
            replies = [await chat.complete(request("hi"), 5) for _ in range(3)]

    assert [reply.text for reply in replies] == ["hello"] * 3
    assert proxy.requests[0].startswith(b"CONNECT localhost:")
    assert proxy.connections == seen.connections == 1
    assert KEY.encode() in seen.requests[0]
    assert KEY.encode() not in b"".join(proxy.requests)


async def test_an_exempt_host_is_reached_directly(direct: pytest.MonkeyPatch) -> None:
    async with tunnel() as proxy, raw_server(http(GOOD)) as seen:
        direct.setenv("http_proxy", proxy.url)
        async with HttpChat(seen.url, None) as chat:
            await chat.complete(request("hi"), 5)

    assert proxy.connections == 0
    assert len(seen.requests) == 1


async def test_openai_itself_is_sent_its_own_name_for_the_output_limit(
    direct: pytest.MonkeyPatch,
) -> None:
    async with raw_server(http(GOOD)) as proxy:
        direct.setenv("http_proxy", proxy.url)
        async with HttpChat("http://api.openai.com/v1", "abc", allow_plain_http=True) as chat:
            await chat.complete(request("hi"), 5)

    head, _, body = proxy.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST http://api.openai.com/v1/chat/completions HTTP/1.1")
    assert orjson.loads(body)["max_completion_tokens"] == 500


@pytest.mark.parametrize("login", ["", "user:word@"])
async def test_a_proxy_sees_its_own_password_and_never_the_key(
    direct: pytest.MonkeyPatch, login: str
) -> None:
    async with raw_server(http(b"", "403 Forbidden")) as proxy:
        direct.setenv("https_proxy", proxy.url.replace("://", f"://{login}"))
        direct.delenv("no_proxy")
        error = await fail("https://models.invalid/v1")

    assert error.kind is FaultKind.CONNECTION
    assert proxy.requests[0].startswith(b"CONNECT models.invalid:443 HTTP/1.1")
    assert (b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.requests[0]) == bool(login)
    assert b"sk-secret" not in proxy.requests[0]


async def test_a_proxy_that_is_not_there_is_a_connection_fault(direct: pytest.MonkeyPatch) -> None:
    async with raw_server(b"") as proxy:
        pass
    direct.setenv("https_proxy", proxy.url)
    direct.delenv("no_proxy")

    assert (await fail("https://models.invalid/v1")).kind is FaultKind.CONNECTION


async def fail(url: str) -> ProviderError:
    async with HttpChat(url, KEY) as chat:
        with pytest.raises(ProviderError) as caught:
            await chat.complete(request("hi"), 5)
    return caught.value
