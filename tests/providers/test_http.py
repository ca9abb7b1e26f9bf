from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.errors import FaultKind, ProviderError, UsageError
from mergeit_async.providers.http import MAX_REPLY_BYTES, HttpChat
from mergeit_async.records import ChatReply, ChatRequest, Message
from mergeit_async.simulator.faults import FAULTS
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import RetryAfterStyle, SimulatorSettings

KEY = 'sk-secret/"0123456789'
SOURCES = (
    '{"instruction": "Name a river in France.", "input": "", "output": "The Loire."}\n'
    '{"instruction": "Name a river in Spain.", "input": "", "output": "The Ebro."}'
)
GOOD = orjson.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})

KINDS_BY_FAULT = {
    "rate_limit": FaultKind.RATE_LIMIT,
    "server": FaultKind.SERVER,
    "bad_gateway": FaultKind.SERVER,
    "unavailable": FaultKind.SERVER,
    "overloaded": FaultKind.SERVER,
    "hang": FaultKind.TIMEOUT,
    "reset": FaultKind.CONNECTION,
    "close_mid_body": FaultKind.CONNECTION,
    "truncated_json": FaultKind.MALFORMED,
    "not_json": FaultKind.MALFORMED,
    "empty_choices": FaultKind.MALFORMED,
}


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxy settings of the machine away from the servers here."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,.invalid")


def request(text: str = SOURCES, sample: int = 0) -> ChatRequest:
    message = Message("user", text)
    return ChatRequest("key", "sim-merge", (message,), 0.25, 500, sample, 50)


async def fail(base_url: str, timeout_s: float = 5.0, text: str = "hi") -> ProviderError:
    async with HttpChat(base_url, KEY, 4) as chat:
        with pytest.raises(ProviderError) as caught:
            await chat.complete(request(text), timeout_s)
    return caught.value


@dataclass
class Seen:
    """What a raw server received: whole requests, and the number of connections."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(answer: bytes | Respond, keep: bool = False) -> AsyncIterator[Seen]:
    """A server that answers every request with the same bytes, or as `answer` likes."""
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while (got := await read_request(reader)) is not None:
                seen.requests.append(got)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(writer)
                if not keep:
                    break
        except OSError:
            pass  # the client hung up first
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield seen


async def read_request(reader: asyncio.StreamReader) -> bytes | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-len")),
        0,
    )
    return head + await reader.readexactly(length)


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def test_every_fault_of_the_simulator_has_an_expected_kind_here() -> None:
    assert KINDS_BY_FAULT.keys() == FAULTS.keys()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_simulated_fault_is_told_by_its_kind(fault: str) -> None:
    async with Simulator(SimulatorSettings(faults={fault: 1.0}, hang_s=9)) as simulator:
        error = await fail(simulator.url, 0.3)

    assert error.kind is KINDS_BY_FAULT[fault]
    assert simulator.stats.faults == {fault: 1}


async def test_a_reply_comes_with_its_text_reason_and_token_counts() -> None:
    async with Simulator() as simulator, HttpChat(simulator.url, None, 4) as chat:
        reply = await chat.complete(request(), 5)

    assert "Loire" in reply.text
    assert "Ebro" in reply.text
    assert reply.finish_reason == "stop"
    assert reply.prompt_tokens == simulator.stats.prompt_tokens > 0
    assert reply.completion_tokens == simulator.stats.completion_tokens > 0


async def test_the_request_on_the_wire_is_a_chat_completion_with_the_sample_as_seed() -> None:
    async with raw_server(http(GOOD)) as seen, HttpChat(f"{seen.url}/v1/", "abc", 4) as chat:
        await chat.complete(request("hi", sample=3), 5)

    head, _, body = seen.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer abc" in head
    assert orjson.loads(body) == {
        "model": "sim-merge",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.25,
        "max_tokens": 500,
        "seed": 3,
    }


async def test_without_a_key_no_authorization_is_sent() -> None:
    async with raw_server(http(GOOD)) as seen, HttpChat(seen.url, None, 4) as chat:
        await chat.complete(request("hi"), 5)

    assert b"authorization" not in seen.requests[0].lower()


async def test_calls_share_one_connection() -> None:
    async with (
        raw_server(http(GOOD), keep=True) as seen,
        HttpChat(seen.url, None, 4) as chat,
    ):
        for _ in range(5):
            await chat.complete(request("hi"), 5)

    assert (len(seen.requests), seen.connections) == (5, 1)


async def test_no_more_connections_are_opened_than_allowed() -> None:
    async with (
        Simulator(SimulatorSettings(latency_s=0.01)) as simulator,
        HttpChat(simulator.url, None, 3) as chat,
    ):
        await asyncio.gather(*(chat.complete(request(), 5) for _ in range(12)))

    assert simulator.stats.peak_in_flight == 3


async def test_a_refused_connection_is_a_connection_fault() -> None:
    async with raw_server(b"") as seen:
        pass

    assert (await fail(seen.url)).kind is FaultKind.CONNECTION


async def test_a_host_that_does_not_exist_is_a_connection_fault() -> None:
    error = await fail("http://no-such-host.invalid/v1")

    assert error.kind is FaultKind.CONNECTION
    assert "no-such-host.invalid" in error.excerpt


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", FaultKind.CONNECTION),
        (b"HTTP/1.1 200 OK\r\nContent-Le", FaultKind.CONNECTION),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", FaultKind.CONNECTION),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", FaultKind.CONNECTION),
        (b"\x00\x01 what is this\r\n\r\n", FaultKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", FaultKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", FaultKind.MALFORMED),
        (http(b"not gzip", "200 OK", "Content-Encoding: gzip"), FaultKind.MALFORMED),
        (http(b"\xff\xfe\x00"), FaultKind.MALFORMED),
        (http(b""), FaultKind.MALFORMED),
        (http(b"", "204 No Content"), FaultKind.MALFORMED),
        (http(b"<html>sign in</html>"), FaultKind.MALFORMED),
        (http(b"slow down", "429 Too Many Requests"), FaultKind.RATE_LIMIT),
        (http(b"gone", "599 What"), FaultKind.SERVER),
        (b"HTTP/1.1 429 Slow\r\nContent-Length: 99\r\n\r\n{", FaultKind.RATE_LIMIT),
    ],
)
async def test_odd_bytes_are_told_by_their_kind(answer: bytes, kind: FaultKind) -> None:
    async with raw_server(answer) as seen:
        error = await fail(seen.url)

    assert error.kind is kind


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 200), junk=st.binary(max_size=12), cut=st.integers(0, 60))
def test_whatever_comes_back_is_a_reply_or_a_provider_error(at: int, junk: bytes, cut: int) -> None:
    good = http(GOOD)
    answer = good[:at] + junk + good[at + cut :]

    async def call() -> ChatReply | ProviderError:
        async with raw_server(answer) as seen, HttpChat(seen.url, KEY, 4) as chat:
            try:
                return await chat.complete(request("hi"), 2)
            except ProviderError as error:
                return error

    assert isinstance(asyncio.run(call()), ChatReply | ProviderError)


async def test_an_answer_above_the_size_limit_is_malformed_and_not_read_to_its_end() -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(1024):
            writer.write(b" " * 2**20)
            await writer.drain()
            written += 2**20

    async with raw_server(flood) as seen:
        error = await fail(seen.url, 10)

    assert error.kind is FaultKind.MALFORMED
    assert written < 2 * MAX_REPLY_BYTES


async def test_a_compressed_bomb_is_malformed_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(bytes(300 * 2**20), compresslevel=1)
    tracemalloc.start()
    async with raw_server(http(bomb, "200 OK", "Content-Encoding: gzip")) as seen:
        error = await fail(seen.url, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert error.kind is FaultKind.MALFORMED
    assert peak < 8 * MAX_REPLY_BYTES


async def test_the_time_limit_covers_the_whole_call() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(drip) as seen:
        error = await fail(seen.url, 0.2)

    assert error.kind is FaultKind.TIMEOUT
    assert "0.2 s" in error.excerpt


async def test_cancelling_a_call_is_not_turned_into_an_error() -> None:
    asked = asyncio.Event()

    async def stay_silent(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await writer.wait_closed()

    async with raw_server(stay_silent) as seen, HttpChat(seen.url, KEY, 4) as chat:
        call = asyncio.create_task(chat.complete(request(), 60))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_redirect_is_not_followed_and_names_its_target() -> None:
    async with raw_server(http(GOOD)) as target:
        moved = http(b"", "307 Temporary Redirect", f"Location: {target.url}/v1/chat/completions")
        async with raw_server(moved) as seen:
            error = await fail(seen.url)

    assert error.kind is FaultKind.BAD_REQUEST
    assert error.status == 307
    assert "127.0.0.1" in error.excerpt
    assert target.requests == []


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "500 Oops"])
async def test_a_key_that_the_server_echoes_does_not_reach_the_error(status: str) -> None:
    echo = (
        orjson.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}) + KEY.encode()
    )
    async with raw_server(http(echo, status)) as seen:
        error = await fail(seen.url)

    assert "sk-secret" not in "".join(every_text(error))
    assert "provided: ***" in error.excerpt


async def test_the_key_is_in_no_error_of_a_broken_exchange() -> None:
    async with raw_server(f"HTTP/1.1 200 OK\r\n{KEY} no colon\r\n\r\n".encode()) as seen:
        error = await fail(seen.url)

    assert error.kind is FaultKind.MALFORMED
    assert error.__context__ is None
    assert "sk-secret" not in "".join(every_text(error))


def every_text(error: BaseException | None) -> list[str]:
    """All that the error and those behind it could print."""
    if error is None:
        return []
    own = [str(error), repr(error), repr(vars(error))]
    return own + every_text(error.__cause__) + every_text(error.__context__)


def test_the_key_is_not_in_the_representation() -> None:
    assert repr(HttpChat("http://localhost:1/v1", KEY, 4)) == "HttpChat('http://localhost:1/v1')"


@pytest.mark.parametrize("style", ["seconds", "ms", "date"])
async def test_the_wait_a_server_asks_for_is_reported(style: RetryAfterStyle) -> None:
    faults = SimulatorSettings(
        faults={"rate_limit": 1.0}, fault_retry_after_s=30, retry_after_style=style
    )
    async with Simulator(faults) as simulator:
        error = await fail(simulator.url)

    assert error.retry_after_s is not None
    assert 29 <= error.retry_after_s <= 31


async def test_text_that_is_no_unicode_is_a_bad_request() -> None:
    async with raw_server(http(GOOD)) as seen:
        error = await fail(seen.url, text="half a pair: \ud83d")

    assert error.kind is FaultKind.BAD_REQUEST
    assert seen.requests == []


async def test_a_request_of_some_megabytes_is_sent_whole() -> None:
    async with raw_server(http(GOOD)) as seen, HttpChat(seen.url, None, 4) as chat:
        reply = await chat.complete(request("x" * 3 * 2**20), 5)

    assert reply.text == "hello"
    assert len(seen.requests[0]) > 3 * 2**20


async def test_openai_itself_is_sent_its_own_name_for_the_output_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with raw_server(http(GOOD)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with HttpChat("http://api.openai.com/v1", "abc", 4) as chat:
            await chat.complete(request("hi"), 5)

    head, _, body = proxy.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST http://api.openai.com/v1/chat/completions HTTP/1.1")
    assert orjson.loads(body)["max_completion_tokens"] == 500


@pytest.mark.parametrize("login", ["", "user:word@"])
async def test_a_proxy_sees_its_own_password_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    async with raw_server(http(b"", "403 Forbidden")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("://", f"://{login}"))
        monkeypatch.delenv("no_proxy")
        error = await fail("https://models.invalid/v1")

    assert error.kind is FaultKind.CONNECTION
    assert proxy.requests[0].startswith(b"CONNECT models.invalid:443 HTTP/1.1")
    assert (b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.requests[0]) == bool(login)
    assert b"sk-secret" not in proxy.requests[0]


async def test_a_check_passes_where_the_server_takes_the_key() -> None:
    async with Simulator(SimulatorSettings(api_key="abc")) as simulator:
        async with HttpChat(simulator.url, "abc", 4) as chat:
            await chat.check()
        async with HttpChat(simulator.url, "other", 4) as chat:
            with pytest.raises(ProviderError) as caught:
                await chat.check()

    assert caught.value.kind is FaultKind.AUTH
    assert simulator.stats.arrivals == 0


async def test_a_check_fails_where_nobody_listens() -> None:
    async with raw_server(b"") as seen:
        pass
    async with HttpChat(seen.url, KEY, 4) as chat:
        with pytest.raises(ProviderError) as caught:
            await chat.check()

    assert caught.value.kind is FaultKind.CONNECTION


@pytest.mark.parametrize(
    "answer",
    [
        http(b"no such page", "404 Not Found"),
        http(b"oops", "500 Internal Server Error"),
        http(b"", "302 Found", "Location: /login"),
        http(b"Missing scopes: api.model.read", "403 Forbidden"),
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_check_accepts_servers_without_a_list_of_models(answer: bytes) -> None:
    async with raw_server(answer) as seen, HttpChat(seen.url, KEY, 4) as chat:
        await chat.check()

    assert len(seen.requests) == 1


def test_an_unusable_address_or_key_is_refused_at_once() -> None:
    with pytest.raises(UsageError):
        HttpChat("localhost", None, 4)
    with pytest.raises(UsageError):
        HttpChat("http://localhost", "two\nlines", 4)
