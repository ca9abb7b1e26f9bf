from __future__ import annotations

import asyncio
import gzip
import logging
import traceback
import zlib
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.errors import FaultKind, ProviderError, UsageError
from mergeit_async.providers.answer import MAX_REPLY_BYTES
from mergeit_async.providers.http import HttpChat
from mergeit_async.records import ChatReply, Quota, RateLimits
from mergeit_async.simulator.faults import FAULTS
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import RetryAfterStyle, SimulatorSettings
from tests.providers.raw_server import GOOD, KEY, SILENCE, chunked, http, raw_server, request

# All faults of the simulator by what they are to the engine. What is cut short is judged as it is.
KINDS_BY_FAULT = {
    "rate_limit": FaultKind.RATE_LIMIT,
    "quota": FaultKind.QUOTA,
    "unauthorized": FaultKind.AUTH,
    "forbidden": FaultKind.AUTH,
    "model_not_found": FaultKind.NOT_FOUND,
    "context_length": FaultKind.CONTEXT_LENGTH,
    "too_large": FaultKind.CONTEXT_LENGTH,
    "bad_request": FaultKind.BAD_REQUEST,
    "redirect": FaultKind.BAD_REQUEST,
    "conflict": FaultKind.SERVER,
    "server": FaultKind.SERVER,
    "bad_gateway": FaultKind.SERVER,
    "gateway_timeout": FaultKind.SERVER,
    "unavailable": FaultKind.SERVER,
    "overloaded": FaultKind.SERVER,
    "request_timeout": FaultKind.TIMEOUT,
    "hang": FaultKind.TIMEOUT,
    "stuck": FaultKind.TIMEOUT,
    "drip": FaultKind.TIMEOUT,
    "reset": FaultKind.CONNECTION,
    "close_mid_body": FaultKind.CONNECTION,
    "long_content_length": FaultKind.CONNECTION,
    "short_content_length": FaultKind.MALFORMED,
    "truncated_json": FaultKind.MALFORMED,
    "not_json": FaultKind.MALFORMED,
    "empty_choices": FaultKind.MALFORMED,
    "huge": FaultKind.MALFORMED,
    "gzip_bomb": FaultKind.MALFORMED,
}

Chat = type[HttpChat]

pytestmark = pytest.mark.usefixtures("direct")


async def fail(
    chat_type: Chat, base_url: str, timeout_s: float = 5.0, text: str = "hi"
) -> ProviderError:
    async with chat_type(base_url, KEY, allow_plain_http=True) as chat:
        with pytest.raises(ProviderError) as caught:
            await chat.complete(request(text), timeout_s)
    return caught.value


def test_every_fault_of_the_simulator_has_an_expected_kind_here() -> None:
    assert FAULTS.keys() <= KINDS_BY_FAULT.keys()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_simulated_fault_is_told_by_its_kind(chat_type: Chat, fault: str) -> None:
    timeout_s = 0.3 if KINDS_BY_FAULT[fault] is FaultKind.TIMEOUT else 10
    async with Simulator(SimulatorSettings(faults={fault: 1.0}, hang_s=9)) as simulator:
        error = await fail(chat_type, simulator.url, timeout_s)

    assert error.kind is KINDS_BY_FAULT[fault]
    assert simulator.stats.faults == {fault: 1}


def error_body(code: str) -> bytes:
    return orjson.dumps({"error": {"message": f"no: {code}", "type": "t", "code": code}})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("400 Bad Request", error_body("invalid_value"), FaultKind.BAD_REQUEST),
        ("400 Bad Request", error_body("context_length_exceeded"), FaultKind.CONTEXT_LENGTH),
        ("400 Bad Request", error_body("content_filter"), FaultKind.CONTENT_FILTER),
        ("401 Unauthorized", error_body("invalid_api_key"), FaultKind.AUTH),
        ("402 Payment Required", b"", FaultKind.QUOTA),
        ("403 Forbidden", error_body("country"), FaultKind.AUTH),
        ("404 Not Found", error_body("model_not_found"), FaultKind.NOT_FOUND),
        ("408 Request Timeout", b"", FaultKind.TIMEOUT),
        ("409 Conflict", error_body("conflict"), FaultKind.SERVER),
        ("413 Content Too Large", b"<html>too large</html>", FaultKind.CONTEXT_LENGTH),
        ("429 Too Many Requests", error_body("rate_limit_exceeded"), FaultKind.RATE_LIMIT),
        ("429 Too Many Requests", error_body("insufficient_quota"), FaultKind.QUOTA),
        ("500 Internal Server Error", error_body("server_error"), FaultKind.SERVER),
        ("501 Not Implemented", b"", FaultKind.NOT_FOUND),
        ("502 Bad Gateway", b"<html>nginx</html>", FaultKind.SERVER),
        ("503 Service Unavailable", b"", FaultKind.SERVER),
        ("504 Gateway Timeout", b"", FaultKind.SERVER),
    ],
)
async def test_a_status_is_told_by_its_kind(
    chat_type: Chat, status: str, body: bytes, kind: FaultKind
) -> None:
    async with raw_server(http(body, status)) as seen:
        error = await fail(chat_type, seen.url)

    assert error.kind is kind
    assert error.status == int(status[:3])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 399])
async def test_no_redirect_is_followed(chat_type: Chat, status: int) -> None:
    moved = http(b"", f"{status} Moved", "Location: http://[broken")
    async with raw_server(moved) as seen:
        error = await fail(chat_type, seen.url)

    assert (error.kind, error.status) == (FaultKind.BAD_REQUEST, status)
    assert len(seen.requests) == 1


LIMITS = (
    "X-RateLimit-Limit-Requests: 600",
    "x-ratelimit-remaining-requests: 599",
    "x-ratelimit-reset-requests: 100ms",
    "x-ratelimit-remaining-tokens: 0",
)


async def test_the_limits_in_the_headers_come_with_the_reply(chat_type: Chat) -> None:
    answer = http(GOOD, "200 OK", *LIMITS)
    async with raw_server(answer) as seen, chat_type(seen.url, None) as chat:
        reply = await chat.complete(request("hi"), 5)

    assert reply.limits == RateLimits(Quota(600, 599, 0.1), Quota(None, 0, None))


async def test_the_limits_in_the_headers_come_with_a_refusal(chat_type: Chat) -> None:
    async with raw_server(http(b"later", "429 Too Many", "Retry-After: 7", *LIMITS)) as seen:
        error = await fail(chat_type, seen.url)

    assert error.retry_after_s == 7
    assert error.limits is not None
    assert error.limits.requests == Quota(600, 599, 0.1)


@pytest.mark.parametrize(
    "answer",
    [
        chunked(GOOD),
        chunked(*(GOOD[at : at + 1] for at in range(len(GOOD)))),
        b"HTTP/1.1 200 OK\r\n\r\n" + GOOD,
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + GOOD,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http(GOOD),
        http(GOOD, "200 OK", "X-Empty:", "X-Odd: \xff"),
        http(gzip.compress(GOOD, mtime=0), "200 OK", "Content-Encoding: gzip"),
        http(zlib.compress(GOOD), "200 OK", "content-encoding: Deflate"),
        http(zlib.compress(GOOD)[2:-4], "200 OK", "Content-Encoding: deflate"),
        http(GOOD, "200 OK", "Content-Encoding: identity"),
    ],
)
async def test_a_whole_answer_is_read_however_it_is_framed(chat_type: Chat, answer: bytes) -> None:
    async with raw_server(answer) as seen, chat_type(seen.url, None) as chat:
        reply = await chat.complete(request("hi"), 5)

    assert reply == ChatReply("hello", "stop")


async def test_a_reply_comes_with_its_text_reason_and_token_counts(chat_type: Chat) -> None:
    async with Simulator() as simulator, chat_type(simulator.url, None) as chat:
        reply = await chat.complete(request(), 5)

    assert "Loire" in reply.text
    assert "Ebro" in reply.text
    assert reply.finish_reason == "stop"
    assert reply.prompt_tokens == simulator.stats.prompt_tokens > 0
    assert reply.completion_tokens == simulator.stats.completion_tokens > 0


async def test_the_request_on_the_wire_is_a_chat_completion_with_the_sample_as_seed(
    chat_type: Chat,
) -> None:
    async with raw_server(http(GOOD)) as seen, chat_type(f"{seen.url}/v1/", "abc") as chat:
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


async def test_without_a_key_no_authorization_is_sent(chat_type: Chat) -> None:
    async with raw_server(http(GOOD)) as seen, chat_type(seen.url, None) as chat:
        await chat.complete(request("hi"), 5)

    assert b"authorization" not in seen.requests[0].lower()


async def test_calls_share_one_connection(chat_type: Chat) -> None:
    async with (
        raw_server(http(GOOD), keep=True) as seen,
        chat_type(seen.url, None) as chat,
    ):
        for _ in range(5):
            await chat.complete(request("hi"), 5)

    assert (len(seen.requests), seen.connections) == (5, 1)


async def test_a_refused_connection_is_a_connection_fault(chat_type: Chat) -> None:
    async with raw_server(b"") as seen:
        pass

    error = await fail(chat_type, seen.url)

    assert error.kind is FaultKind.CONNECTION
    assert not error.was_sent


async def test_a_connection_lost_after_the_request_may_have_been_billed(chat_type: Chat) -> None:
    async with raw_server(b"") as seen:
        error = await fail(chat_type, seen.url)

    assert error.kind is FaultKind.CONNECTION
    assert error.was_sent


async def test_a_host_that_does_not_exist_is_a_connection_fault(chat_type: Chat) -> None:
    error = await fail(chat_type, "http://no-such-host.invalid/v1")

    assert error.kind is FaultKind.CONNECTION
    assert "no-such-host.invalid" in error.excerpt


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", FaultKind.CONNECTION),
        (http(GOOD)[:-1], FaultKind.CONNECTION),
        (http(GOOD[:-9] + b"        "), FaultKind.MALFORMED),
        (http(GOOD, "200 OK", "Content-Encoding: br"), FaultKind.MALFORMED),
        (
            http(gzip.compress(GOOD, mtime=0)[:-9], "200 OK", "Content-Encoding: gzip"),
            FaultKind.MALFORMED,
        ),
        (http(b"\x1f\x8b odd", "429 Too", "Content-Encoding: gzip"), FaultKind.RATE_LIMIT),
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: h\r\nConnection: upgrade\r\n\r\n",
            FaultKind.MALFORMED,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            FaultKind.MALFORMED,
        ),
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
async def test_odd_bytes_are_told_by_their_kind(
    chat_type: Chat, answer: bytes, kind: FaultKind
) -> None:
    async with raw_server(answer) as seen:
        error = await fail(chat_type, seen.url)

    assert error.kind is kind


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 200), junk=st.binary(max_size=12), cut=st.integers(0, 60))
def test_whatever_comes_back_is_a_reply_or_a_provider_error(
    chat_type: Chat, at: int, junk: bytes, cut: int
) -> None:
    good = http(GOOD)
    answer = good[:at] + junk + good[at + cut :]

    async def call() -> ChatReply | ProviderError:
        async with raw_server(answer) as seen, chat_type(seen.url, KEY) as chat:
            try:
                return await chat.complete(request("hi"), 2)
            except ProviderError as error:
                return error

    assert isinstance(asyncio.run(call()), ChatReply | ProviderError)


async def test_an_answer_of_a_gigabyte_is_malformed_and_neither_read_nor_kept(
    chat_type: Chat,
) -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        part = b" " * 2**20
        for _ in range(1024):
            writer.write(part)
            await writer.drain()
            written += len(part)

    before = forget_peak_memory()
    async with raw_server(flood) as seen:
        error = await fail(chat_type, seen.url, 10)

    assert error.kind is FaultKind.MALFORMED
    assert written < 2 * MAX_REPLY_BYTES
    assert peak_memory() - before < 6 * MAX_REPLY_BYTES


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
async def test_a_compressed_bomb_never_fills_the_memory(
    chat_type: Chat, bomb: bytes, status: str
) -> None:
    before = forget_peak_memory()
    async with raw_server(http(bomb, status, "Content-Encoding: gzip")) as seen:
        error = await fail(chat_type, seen.url, 10)

    assert error.kind is (FaultKind.MALFORMED if "200" in status else FaultKind.SERVER)
    assert peak_memory() - before < 6 * MAX_REPLY_BYTES


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """200 MB of nothing in a megabyte."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()


def forget_peak_memory() -> int:
    """Begin to measure: bytes resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not tell a process's peak of memory")
    return peak_memory()


def peak_memory() -> int:
    """The most bytes resident since it was last forgotten."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) * 1024


async def test_the_time_limit_covers_the_whole_call(chat_type: Chat) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(drip) as seen:
        error = await fail(chat_type, seen.url, 0.2)

    assert error.kind is FaultKind.TIMEOUT
    assert "0.2 s" in error.excerpt


async def test_a_server_that_never_answers_ends_at_the_time_limit(chat_type: Chat) -> None:
    async with raw_server(SILENCE) as seen:
        error = await fail(chat_type, seen.url, 0.05)

    assert error.kind is FaultKind.TIMEOUT


async def test_cancelling_a_call_is_not_turned_into_an_error_and_ends_its_connection(
    chat_type: Chat,
) -> None:
    async with raw_server(SILENCE) as seen, chat_type(seen.url, KEY) as chat:
        call = asyncio.create_task(chat.complete(request(), 60))
        await seen.asked()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.02)
        assert not seen.open


async def test_calls_under_way_fail_when_the_chat_is_closed(chat_type: Chat) -> None:
    async with raw_server(SILENCE) as seen:
        async with chat_type(seen.url, None) as chat:
            call = asyncio.create_task(chat.complete(request("hi"), 60))
            await seen.asked()
        with pytest.raises(ProviderError) as caught:
            await call

    assert caught.value.kind is FaultKind.CONNECTION


async def test_a_redirect_is_not_followed_and_names_its_target(chat_type: Chat) -> None:
    async with raw_server(http(GOOD)) as target:
        moved = http(b"", "307 Temporary Redirect", f"Location: {target.url}/v1/chat/completions")
        async with raw_server(moved) as seen:
            error = await fail(chat_type, seen.url)

    assert error.kind is FaultKind.BAD_REQUEST
    assert error.status == 307
    assert "127.0.0.1" in error.excerpt
    assert target.requests == []


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "500 Oops"])
async def test_a_key_that_the_server_echoes_does_not_reach_the_error(
    chat_type: Chat, status: str
) -> None:
    echo = (
        orjson.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}) + KEY.encode()
    )
    async with raw_server(http(echo, status)) as seen:
        error = await fail(chat_type, seen.url)

    assert "sk-secret" not in "".join(every_text(error))
    assert "provided: ***" in error.excerpt


async def test_the_key_is_in_no_error_of_a_broken_exchange(chat_type: Chat) -> None:
    async with raw_server(f"HTTP/1.1 200 OK\r\n{KEY} no colon\r\n\r\n".encode()) as seen:
        error = await fail(chat_type, seen.url)

    assert error.kind is FaultKind.MALFORMED
    assert error.__context__ is None
    assert "sk-secret" not in "".join(every_text(error))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        http(b"no", "400 Bad Request"),
        http(b"", "307 Moved", f"Location: http://{KEY[:9]}/"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + KEY[:8].encode(),
    ],
)
async def test_the_key_is_in_no_log_and_no_traceback_with_all_its_variables(
    chat_type: Chat, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with raw_server(answer) as seen:
        error = await fail(chat_type, seen.url)

    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert f"Bearer {KEY}".encode() in seen.requests[0]
    assert KEY not in "".join(told.format()) + caplog.text
    assert KEY not in "".join(every_text(error))


def every_text(error: BaseException | None) -> list[str]:
    """All that the error and those behind it could print."""
    if error is None:
        return []
    own = [str(error), repr(error), repr(vars(error))]
    return own + every_text(error.__cause__) + every_text(error.__context__)


def test_the_key_is_not_in_the_representation() -> None:
    assert repr(HttpChat("http://localhost:1/v1", KEY)) == "HttpChat('http://localhost:1/v1')"


@pytest.mark.parametrize("style", ["seconds", "ms", "date"])
async def test_the_wait_a_server_asks_for_is_reported(
    chat_type: Chat, style: RetryAfterStyle
) -> None:
    faults = SimulatorSettings(
        faults={"rate_limit": 1.0}, fault_retry_after_s=30, retry_after_style=style
    )
    async with Simulator(faults) as simulator:
        error = await fail(chat_type, simulator.url)

    assert error.retry_after_s is not None
    assert 29 <= error.retry_after_s <= 31


async def test_text_that_is_no_unicode_is_a_bad_request(chat_type: Chat) -> None:
    async with raw_server(http(GOOD)) as seen:
        error = await fail(chat_type, seen.url, text="half a pair: \ud83d")

    assert error.kind is FaultKind.BAD_REQUEST
    assert seen.requests == []


async def test_a_request_of_some_megabytes_is_sent_whole(chat_type: Chat) -> None:
    async with raw_server(http(GOOD)) as seen, chat_type(seen.url, None) as chat:
        reply = await chat.complete(request("x" * 3 * 2**20), 5)

    assert reply.text == "hello"
    assert len(seen.requests[0]) > 3 * 2**20


async def test_a_check_passes_where_the_server_takes_the_key(chat_type: Chat) -> None:
    async with Simulator(SimulatorSettings(api_key="abc")) as simulator:
        async with chat_type(simulator.url, "abc") as chat:
            await chat.check()
        async with chat_type(simulator.url, "other") as chat:
            with pytest.raises(ProviderError) as caught:
                await chat.check()

    assert caught.value.kind is FaultKind.AUTH
    assert simulator.stats.arrivals == 0


async def test_a_check_fails_where_nobody_listens(chat_type: Chat) -> None:
    async with raw_server(b"") as seen:
        pass
    async with chat_type(seen.url, KEY) as chat:
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
async def test_a_check_accepts_servers_without_a_list_of_models(
    chat_type: Chat, answer: bytes
) -> None:
    async with raw_server(answer) as seen, chat_type(seen.url, KEY) as chat:
        await chat.check()

    assert len(seen.requests) == 1


def test_an_unusable_address_or_key_is_refused_at_once() -> None:
    with pytest.raises(UsageError):
        HttpChat("localhost", None)
    with pytest.raises(UsageError):
        HttpChat("http://localhost", "two\nlines")


@pytest.mark.parametrize(
    "host", ["models.example", "10.0.0.7", "[2001:db8::7]", "127.0.0.1.nip.io"]
)
def test_a_key_is_not_sent_in_plain_text_to_another_machine(host: str) -> None:
    with pytest.raises(UsageError, match="unencrypted") as caught:
        HttpChat(f"http://{host}/v1", KEY)

    assert "sk-secret" not in str(caught.value)
    assert HttpChat(f"http://{host}/v1", None)
    assert HttpChat(f"https://{host}/v1", KEY)
    assert HttpChat(f"http://{host}/v1", KEY, allow_plain_http=True)


async def test_a_chat_that_is_not_open_is_a_mistake_in_the_program() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await HttpChat("http://localhost/v1", None).complete(request(), 5)
