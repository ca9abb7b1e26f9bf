from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings


class Client:
    """A simulator and a session to talk to it."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator, self.session = simulator, session

    async def post(self, body: bytes, key: str | None = None) -> tuple[int, Any, dict[str, str]]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{self.simulator.url}/chat/completions"
        async with self.session.post(url, data=io.BytesIO(body), headers=headers) as response:
            return response.status, orjson.loads(await response.read()), dict(response.headers)

    async def get(self, url: str, key: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.session.get(url, headers=headers) as response:
            return response.status, orjson.loads(await response.read())


@asynccontextmanager
async def simulated(**settings: Any) -> AsyncIterator[Client]:
    async with (
        Simulator(SimulatorSettings(**settings)) as simulator,
        aiohttp.ClientSession() as session,
    ):
        yield Client(simulator, session)


def body(text: str = "hi", model: str = "sim-merge", **members: Any) -> bytes:
    turns = [{"role": "user", "content": text}]
    return orjson.dumps({"model": model, "messages": turns, **members})


async def test_equal_requests_get_equal_answers_and_are_counted() -> None:
    async with simulated() as client:
        first, second = await client.post(body()), await client.post(body())
        await client.post(body("other"))

        assert first[:2] == second[:2]
        assert first[0] == 200
        assert client.simulator.stats.arrivals_of(body()) == 2
        assert client.simulator.stats.answers_of(body("other")) == 1


async def test_models_are_listed() -> None:
    async with simulated(models=("a", "b")) as client:
        _, models = await client.get(f"{client.simulator.url}/models")

        assert [model["id"] for model in models["data"]] == ["a", "b"]


async def test_an_unknown_model_is_not_found() -> None:
    async with simulated() as client:
        status, error, _ = await client.post(body(model="gpt-none"))

        assert (status, error["error"]["code"]) == (404, "model_not_found")
        assert client.simulator.stats.rejected == {404: 1}


async def test_any_model_is_served_where_none_is_named() -> None:
    async with simulated(models=()) as client:
        assert (await client.post(body(model="gpt-none")))[0] == 200


async def test_a_wrong_or_missing_key_is_refused_everywhere() -> None:
    async with simulated(api_key="right") as client:
        assert (await client.post(body(), "right"))[0] == 200
        assert (await client.post(body(), "wrong"))[0] == 401
        assert (await client.post(body()))[0] == 401
        assert (await client.get(f"{client.simulator.url}/models"))[0] == 401
        assert (await client.get(f"{client.simulator.url}/models", "right"))[0] == 200


async def test_a_body_that_is_no_chat_request_is_a_bad_request() -> None:
    async with simulated() as client:
        status, error, _ = await client.post(b"{")

        assert (status, error["error"]["type"]) == (400, "invalid_request_error")


async def test_an_unknown_path_is_not_found() -> None:
    async with simulated() as client:
        assert (await client.get(f"{client.simulator.url}/embeddings"))[0] == 404


async def test_a_burst_over_the_limit_is_refused_with_headers_that_tell_the_truth() -> None:
    async with simulated(rpm=600, burst_s=3, retry_after_style="ms") as client:
        started_s = time.monotonic()
        answers = await asyncio.gather(*(client.post(body()) for _ in range(50)))
        took_s = time.monotonic() - started_s
        good = [headers for status, _, headers in answers if status == 200]
        refused = [headers for status, _, headers in answers if status == 429]
        wait_s = max(int(headers["retry-after-ms"]) for headers in refused) / 1000
        await asyncio.sleep(wait_s)
        after = (await client.post(body()))[0]

    # 30 at once, and ten for each second that the burst itself took.
    assert 30 <= len(good) <= 31 + 10 * took_s
    assert {int(headers["x-ratelimit-remaining-requests"]) for headers in good} >= set(range(30))
    assert {headers["x-ratelimit-limit-requests"] for headers in good + refused} == {"600"}
    assert {headers["x-ratelimit-remaining-requests"] for headers in refused} == {"0"}
    assert all(headers["x-ratelimit-reset-requests"].endswith("s") for headers in refused)
    assert 0 < wait_s <= 0.1
    assert after == 200


async def test_tokens_over_the_limit_are_refused_by_that_name() -> None:
    async with simulated(tpm=6000, burst_s=1) as client:
        first, _, _ = await client.post(body(max_tokens=90))
        second, error, headers = await client.post(body(max_tokens=90))
        never, too_large, no_wait = await client.post(body(max_tokens=200))

    assert (first, second, never) == (200, 429, 429)
    assert error["error"]["type"] == "tokens"
    assert headers["Retry-After"] == "1"
    assert "too large" in too_large["error"]["message"]
    assert "Retry-After" not in no_wait


async def test_latency_is_what_was_asked_for() -> None:
    async with simulated(latency_s=0.05) as client:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        await asyncio.gather(*(client.post(body()) for _ in range(20)))

        assert 0.05 <= loop.time() - started_s < 0.9
        assert client.simulator.stats.peak_in_flight == 20


async def test_a_caller_that_hangs_up_is_no_longer_in_flight() -> None:
    async with simulated(latency_s=60) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.post(body())
        async with asyncio.timeout(5):
            while (await client.get(client.simulator.stats_url))[1]["in_flight"]:
                pass

        assert client.simulator.stats.arrivals == 1


async def test_stats_are_served_with_and_without_bodies_and_can_be_reset() -> None:
    async with simulated() as client:
        await client.post(body())
        url = client.simulator.stats_url
        full, compact = (await client.get(url))[1], (await client.get(f"{url}?digests=0"))[1]
        async with client.session.post(f"{url}/reset") as response:
            await response.read()
        empty = (await client.get(url))[1]

    assert list(full["requests"].values()) == [{"arrivals": 1, "answered": 1}]
    assert "requests" not in compact
    assert compact["answered"] == 1
    assert empty["arrivals"] == 0


async def test_content_faults_are_counted_by_kind() -> None:
    rows = '{"instruction": "Add.", "output": "7"} {"instruction": "Divide.", "output": "2"}'
    async with simulated(content_faults={"copy": 1.0}) as client:
        await client.post(body(rows))

        assert client.simulator.stats.content_faults == {"copy": 1}
        assert client.simulator.stats.answered == 1


async def test_a_long_prompt_is_taken() -> None:
    async with simulated() as client:
        assert (await client.post(body("x" * 3_000_000)))[0] == 200
