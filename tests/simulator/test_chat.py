from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from mergeit_async.simulator.server import Simulator
from tests.simulator.raw_client import chat_body, connect, post, simulated, until

ROWS = '{"instruction": "Add.", "output": "7"} {"instruction": "Divide.", "output": "2"}'


async def ask_apart(simulator: Simulator, body: bytes) -> tuple[int, dict[str, str], Any]:
    """The answer over a connection of its own."""
    async with connect(simulator) as wire:
        return await wire.ask(body)


async def test_equal_requests_get_equal_answers_and_are_counted() -> None:
    async with simulated() as (simulator, wire):
        first, second = await wire.ask(chat_body()), await wire.ask(chat_body())
        await wire.ask(chat_body("other"))

        assert (first[0], first[2]) == (200, second[2])
        assert simulator.stats.arrivals_of(chat_body()) == 2
        assert simulator.stats.answers_of(chat_body("other")) == 1


async def test_an_unknown_model_is_not_found() -> None:
    async with simulated() as (simulator, wire):
        status, _, error = await wire.ask(chat_body(model="gpt-none"))

        assert (status, error["error"]["code"]) == (404, "model_not_found")
        assert simulator.stats.rejected == {404: 1}


async def test_any_model_is_served_where_none_is_named() -> None:
    async with simulated(models=()) as (_, wire):
        assert (await wire.ask(chat_body(model="gpt-none")))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("Authorization: Bearer right",), 200),
        (("authorization: Bearer right",), 200),
        (("Authorization: Bearer wrong",), 401),
        ((), 401),
    ],
)
async def test_a_wrong_or_missing_key_is_refused(headers: tuple[str, ...], status: int) -> None:
    async with simulated(api_key="right") as (_, wire):
        assert (await wire.ask(chat_body(), *headers))[0] == status


async def test_the_key_is_looked_at_before_the_body() -> None:
    async with simulated(api_key="right") as (simulator, wire):
        assert (await wire.ask(b"{"))[0] == 401
        assert simulator.stats.rejected == {401: 1}


async def test_a_body_that_is_no_chat_request_is_a_bad_request() -> None:
    async with simulated() as (_, wire):
        status, _, error = await wire.ask(b"{")

    assert (status, error["error"]["type"]) == (400, "invalid_request_error")


async def test_a_burst_over_the_limit_is_refused_with_headers_that_tell_the_truth() -> None:
    async with simulated(rpm=600, burst_s=3, retry_after_style="ms") as (simulator, wire):
        started_s = time.monotonic()
        answers = [await wire.ask(chat_body()) for _ in range(50)]
        took_s = time.monotonic() - started_s
        good = [headers for status, headers, _ in answers if status == 200]
        refused = [headers for status, headers, _ in answers if status == 429]
        wait_s = int(refused[-1]["retry-after-ms"]) / 1000
        await asyncio.sleep(wait_s)
        after = (await wire.ask(chat_body()))[0]

    # 30 at once, and ten for each second that the burst itself took.
    assert 30 <= len(good) <= 31 + 10 * took_s
    assert {int(headers["x-ratelimit-remaining-requests"]) for headers in good} >= set(range(30))
    assert {headers["x-ratelimit-limit-requests"] for headers in good + refused} == {"600"}
    assert {headers["x-ratelimit-remaining-requests"] for headers in refused} == {"0"}
    assert all(headers["x-ratelimit-reset-requests"].endswith("s") for headers in refused)
    assert 0 < wait_s <= 0.1
    assert after == 200
    assert simulator.stats.rejected == {429: len(refused)}


async def test_a_server_may_keep_its_limits_to_itself() -> None:
    async with simulated(rpm=60, burst_s=1, rate_headers=False) as (_, wire):
        good, refused = await wire.ask(chat_body()), await wire.ask(chat_body())

    assert (good[0], refused[0]) == (200, 429)
    assert not any(name.startswith("x-ratelimit") for name in good[1].keys() | refused[1].keys())
    assert refused[1]["retry-after"] == "1"


async def test_tokens_over_the_limit_are_refused_by_that_name() -> None:
    async with simulated(tpm=6000, burst_s=1) as (_, wire):
        first, _, _ = await wire.ask(chat_body(max_tokens=90))
        second, headers, error = await wire.ask(chat_body(max_tokens=90))
        never, no_wait, too_large = await wire.ask(chat_body(max_tokens=200))

    assert (first, second, never) == (200, 429, 429)
    assert error["error"]["type"] == "tokens"
    assert headers["retry-after"] == "1"
    assert "too large" in too_large["error"]["message"]
    assert "retry-after" not in no_wait


@pytest.mark.parametrize(("charge", "charged"), [("prompt+max", 41), ("reported", None)])
async def test_tokens_are_charged_as_the_server_likes(charge: str, charged: int | None) -> None:
    async with simulated(tpm=60_000, tpm_charge=charge) as (simulator, wire):
        _, _, answer = await wire.ask(chat_body(max_tokens=40))
        stats = await wire.look("/stats")

    charged = charged or answer["usage"]["total_tokens"]
    assert simulator.stats.tokens_charged == charged
    assert [row[1:] for row in stats["trace"]] == [[1, 1, 0, charged]]


async def test_more_requests_at_once_than_allowed_are_refused() -> None:
    async with simulated(latency_s=0.2, max_concurrent=3) as (simulator, _):
        answers = await asyncio.gather(*(ask_apart(simulator, chat_body()) for _ in range(5)))
        after = await ask_apart(simulator, chat_body())

        refused = [(headers, error) for status, headers, error in answers if status == 429]
        assert sorted(status for status, _, _ in answers) == [200, 200, 200, 429, 429]
        assert refused[0][1]["error"]["code"] == "rate_limit_exceeded"
        assert "retry-after" not in refused[0][0]
        assert after[0] == 200
        assert simulator.stats.rejected == {429: 2}


async def test_a_refusal_charges_no_limit() -> None:
    async with simulated(rpm=60, max_concurrent=1) as (_, wire):
        await wire.ask(chat_body(model="gpt-none"))
        _, headers, _ = await wire.ask(chat_body())

    assert headers["x-ratelimit-remaining-requests"] == "59"


async def test_latency_is_what_was_asked_for() -> None:
    async with simulated(latency_s=0.05) as (simulator, _):
        started_s = time.monotonic()
        await asyncio.gather(*(ask_apart(simulator, chat_body()) for _ in range(20)))

        assert 0.05 <= time.monotonic() - started_s < 0.9
        assert simulator.stats.peak_in_flight == 20


async def test_content_faults_are_counted_by_kind() -> None:
    async with simulated(content_faults={"copy": 1.0}) as (simulator, wire):
        await wire.ask(chat_body(ROWS))

        assert simulator.stats.content_faults == {"copy": 1}
        assert simulator.stats.answered == 1


async def test_cached_tokens_are_reported_once_the_preamble_was_answered() -> None:
    def body(text: str) -> bytes:
        system = {"role": "system", "content": "x" * 400}
        turns = [system, {"role": "user", "content": text}]
        return chat_body(messages=turns)

    async with simulated(prompt_cache=True) as (simulator, wire):
        usages = [(await wire.ask(body(text)))[2]["usage"] for text in ("one", "two", "one")]

    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 100, 100]
    assert simulator.stats.cached_tokens == 200


async def test_a_failed_call_warms_no_cache() -> None:
    async with simulated(prompt_cache=True, faults={"server": 1.0}) as (simulator, wire):
        system = {"role": "system", "content": "x" * 400}
        body = chat_body(messages=[system, {"role": "user", "content": "hi"}])
        await wire.ask(body)
        simulator.control(faults={})
        _, _, answer = await wire.ask(body)

    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_a_long_prompt_is_taken() -> None:
    async with simulated() as (_, wire):
        assert (await wire.ask(chat_body("x" * 3_000_000)))[0] == 200


async def test_faults_follow_the_number_of_the_arrival_even_after_a_reset() -> None:
    async with simulated(faults={"server": 0.5}, seed=1) as (simulator, wire):
        first = [(await wire.ask(chat_body()))[0] for _ in range(40)]
        simulator.stats.reset()
        second = [(await wire.ask(chat_body()))[0] for _ in range(40)]
    async with simulated(faults={"server": 0.5}, seed=1) as (_, wire):
        again = [(await wire.ask(chat_body(str(number))))[0] for number in range(80)]

    assert set(first) == {200, 500}
    assert first != second
    assert again == first + second


async def test_a_request_that_is_refused_is_no_longer_in_flight() -> None:
    async with simulated(rpm=60, burst_s=1) as (simulator, wire):
        wire.send(post(chat_body()) * 3)
        await until(lambda: simulator.stats.arrivals == 3)

        assert simulator.stats.in_flight == 0


async def test_a_form_that_the_server_cannot_give_is_refused_and_charged_to_no_limit() -> None:
    form = {"type": "json_object"}
    async with simulated(structured="none", rpm=60) as (simulator, wire):
        status, _, error = await wire.ask(chat_body("JSON!", response_format=form))
        _, headers, _ = await wire.ask(chat_body())

    assert (status, error["error"]["param"]) == (400, "response_format")
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert simulator.stats.rejected == {400: 1}


async def test_a_server_may_break_at_any_form() -> None:
    async with simulated(structured="broken") as (simulator, wire):
        form = {"type": "json_object"}
        statuses = [(await wire.ask(chat_body("JSON!", response_format=form)))[0] for _ in "ab"]
        plain = (await wire.ask(chat_body()))[0]

    assert (statuses, plain) == ([500, 500], 200)
    assert simulator.stats.rejected == {500: 2}


def repair_body(seed: int = 0) -> bytes:
    turns = [("user", ROWS), ("assistant", "{}"), ("user", "Something is missing.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    return chat_body(messages=messages, seed=seed)


async def test_repairs_are_counted_with_those_that_failed() -> None:
    async with simulated(repair_failure_rate=0.5, flaw_rate=1.0) as (_, wire):
        for seed in range(40):
            await wire.ask(repair_body(seed))
        await wire.ask(chat_body(ROWS))
        stats = await wire.look("/stats?digests=0")

    assert stats["repairs"] == 40
    assert 10 < stats["repairs_failed"] < 30
    assert sum(stats["content_faults"].values()) == 1


async def test_what_judges_say_is_counted_by_itself() -> None:
    body = chat_body('{"instruction": "Add.", "output": "7"}', model="sim-judge")
    async with simulated(judge_faults={"prose": 1.0}) as (_, wire):
        await wire.ask(body)
        stats = await wire.look("/stats?digests=0")

    assert (stats["judged"], stats["judge_faults"]) == (1, {"prose": 1})
    assert stats["content_faults"] == {}


async def test_a_repair_between_merges_is_not_mistaken_for_one() -> None:
    async with simulated() as (simulator, wire):
        bodies = [chat_body(ROWS), repair_body(), repair_body(1), chat_body(ROWS)]
        answers = [(await wire.ask(body))[2] for body in bodies]
        again = [(await wire.ask(body))[2] for body in reversed(bodies)]

    assert again == answers[::-1]
    assert simulator.stats.repairs == 4
