from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from mergeit_async.engine.caller import Caller, GaveUp, Judgement
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.limiter import Limiter
from mergeit_async.errors import FaultKind, ProviderError, StoppedError
from mergeit_async.records import ChatReply, ChatRequest, Example, Message, Outcome, Status

REPLY = ChatReply("the text", "stop", 5, 5)
UNREPORTED = ChatReply("the text", "stop")
MERGED = Outcome(0, "group", Status.MERGED, 1, merged=Example("Do both.", "", "Done."))


def request(key: str = "k") -> ChatRequest:
    return ChatRequest(key, "m", (Message("user", "merge"),), 0.0, 1000, 0, 10)


def fault(kind: FaultKind, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError(kind, "the server's words", status=503, retry_after_s=retry_after_s)


def accept(_: ChatReply) -> Judgement:
    return Judgement("accepted", MERGED)


def ask(journal: Path, sql: str) -> list[tuple[Any, ...]]:
    """What another connection sees, that is, what is committed."""
    with closing(sqlite3.connect(journal)) as connection:
        return connection.execute(sql).fetchall()


class Script:
    """A provider that goes through its replies and faults, and notes when it was asked for what."""

    def __init__(self, *steps: ChatReply | ProviderError) -> None:
        self.steps = list(steps)
        self.sent: list[str] = []
        self.sent_at: list[float] = []
        self.on_send: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint

    async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
        self.sent.append(request.key)
        self.sent_at.append(anyio.current_time())
        await self.on_send()
        step = self.steps.pop(0)
        if isinstance(step, ProviderError):
            raise step
        return step

    async def check(self) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def run(simulate, path: Path):
    """Run `act(caller)` on a clock that jumps, with a real journal; returns how it ended."""

    def start(
        script: Script,
        act: Callable[[Caller], Awaitable[Any]],
        limiter: Callable[[], Limiter] = lambda: Limiter(8),
        max_tries: int = 3,
    ) -> Any:
        async def main() -> Any:
            async with open_journal(path) as journal:
                caller = Caller(script, limiter(), journal, timeout_s=1.0, max_tries=max_tries)
                try:
                    return await act(caller)
                except (GaveUp, StoppedError) as end:
                    return end

        return simulate(main)

    return start


async def one_call(caller: Caller) -> Judgement:
    return await caller.call(0, request(), accept)


def test_a_fault_that_may_pass_is_sent_again_after_the_wait_the_server_asked_for(run, path):
    script = Script(fault(FaultKind.SERVER, 7.0), REPLY)

    judgement = run(script, one_call)

    assert judgement == Judgement("accepted", MERGED)
    assert 7.0 <= script.sent_at[1] - script.sent_at[0] <= 8.5
    assert ask(path, "SELECT result, http_status FROM calls ORDER BY id") == [
        ("server", 503),
        ("accepted", 200),
    ]


def test_the_slot_is_free_while_a_request_waits_for_its_next_try(run):
    script = Script(fault(FaultKind.SERVER, 60.0), REPLY, REPLY)

    async def two_calls(caller: Caller) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.call, 0, request("first"), accept)
            tasks.start_soon(caller.call, 1, request("second"), accept)

    run(script, two_calls, limiter=lambda: Limiter(1))

    assert script.sent == ["first", "second", "first"]


def test_rate_limits_use_up_no_tries(run):
    script = Script(*[fault(FaultKind.RATE_LIMIT, 1.0)] * 10, fault(FaultKind.SERVER), REPLY)
    assert run(script, one_call, max_tries=2).verdict == "accepted"


def test_waits_for_a_rate_that_the_server_does_not_tell_grow_longer(run):
    script = Script(*[fault(FaultKind.RATE_LIMIT)] * 6, REPLY)
    run(script, one_call)
    waits = [after - before for before, after in pairwise(script.sent_at)]
    assert waits[5] > 4 * waits[0]


def test_a_request_is_given_up_after_its_last_try(run, path):
    script = Script(*[fault(FaultKind.SERVER)] * 9)
    end = run(script, one_call, max_tries=3)
    assert isinstance(end, GaveUp)
    assert end.fault.kind is FaultKind.SERVER
    assert len(script.sent) == 3
    assert ask(path, "SELECT result, detail FROM calls") == [("server", "the server's words")] * 3


def test_a_verdict_on_the_payload_is_not_asked_for_twice(run):
    script = Script(fault(FaultKind.CONTEXT_LENGTH), REPLY)
    assert isinstance(run(script, one_call), GaveUp)
    assert len(script.sent) == 1


def test_a_refused_key_stops_the_run_at_once(run, path):
    script = Script(fault(FaultKind.AUTH), REPLY)
    end = run(script, one_call)
    assert isinstance(end, StoppedError)
    assert "check the key" in str(end)
    assert len(script.sent) == 1
    assert ask(path, "SELECT result FROM calls WHERE ended_at NOT NULL") == [("auth",)]


def test_one_reply_among_many_refused_payloads_lets_the_run_go_on(run):
    refusal = fault(FaultKind.BAD_REQUEST)
    script = Script(*[refusal] * 19, REPLY, *[refusal] * 20)

    async def call_on(caller: Caller) -> None:
        while True:
            with suppress(GaveUp):
                await one_call(caller)

    assert isinstance(run(script, call_on), StoppedError)
    assert len(script.sent) == 40


def test_the_intent_is_committed_before_the_send_and_the_end_after_it(run, path):
    script = Script(REPLY)
    seen_on_send: list[Any] = []

    async def look() -> None:
        seen_on_send.append(ask(path, "SELECT request_key, ended_at FROM calls"))

    script.on_send = look
    run(script, one_call)

    assert seen_on_send == [[("k", None)]]
    assert ask(path, "SELECT result, ended_at >= begun_at FROM calls") == [("accepted", 1)]
    assert ask(path, "SELECT request_key, text FROM replies") == [("k", "the text")]
    assert ask(path, "SELECT position, status FROM outcomes") == [(0, "merged")]


@pytest.mark.parametrize(("reply", "granted_after_s"), [(REPLY, 0.0), (UNREPORTED, 10.0)])
def test_the_tokens_that_a_server_reports_settle_those_reserved(run, reply, granted_after_s):
    script = Script(reply, reply)

    async def two_calls(caller: Caller) -> None:
        await one_call(caller)
        await one_call(caller)

    run(script, two_calls, limiter=lambda: Limiter(8, tpm=6000))  # 100 a second; 1010 reserved

    assert script.sent_at[1] - script.sent_at[0] == pytest.approx(granted_after_s, abs=0.5)


# Cancelling a call is how a run drains.


async def until(is_true: Callable[[], object]) -> None:
    # The writer's thread and the limiter's queue signal nobody but the call.
    while not is_true():  # noqa: ASYNC110
        await anyio.sleep(0.001)


@pytest.mark.parametrize("limits", [{"max_in_flight": 1}, {"max_in_flight": 9, "rpm": 1}])
def test_a_call_cancelled_while_it_waits_for_a_slot_is_not_sent_and_leaves_none_taken(
    run, path, limits
):
    script = Script(REPLY)
    limiters: list[Limiter] = []

    def limiter() -> Limiter:
        limiters.append(Limiter(**limits))
        return limiters[0]

    def is_waiting() -> bool:
        places = limiters[0]._places.statistics()
        return places.tasks_waiting == 1 or limiters[0].in_flight == 2

    async def cancel_one(caller: Caller) -> None:
        async with limiters[0].slot(1), anyio.create_task_group() as tasks:
            tasks.start_soon(one_call, caller)
            await until(is_waiting)
            tasks.cancel_scope.cancel()

    run(script, cancel_one, limiter)

    assert script.sent == []
    assert ask(path, "SELECT result FROM calls WHERE ended_at NOT NULL") == [("not_sent",)]
    assert limiters[0].in_flight == 0


@pytest.mark.parametrize(
    ("end", "recorded"), [(REPLY, "accepted"), (fault(FaultKind.SERVER, 100.0), "server")]
)
def test_an_exchange_under_way_is_finished_and_committed_when_its_call_is_cancelled(
    run, path, end, recorded
):
    script = Script(end, REPLY)

    async def cancel_one(caller: Caller) -> float:
        async with anyio.create_task_group() as tasks:

            async def on_send() -> None:
                tasks.cancel_scope.cancel()
                await anyio.sleep(5)

            script.on_send = on_send
            tasks.start_soon(one_call, caller)
        return anyio.current_time()

    assert 5 <= run(script, cancel_one) < 10
    assert len(script.sent) == 1
    assert ask(path, "SELECT result FROM calls WHERE ended_at NOT NULL") == [(recorded,)]
    outcomes = ask(path, "SELECT status FROM outcomes")
    assert outcomes == ([("merged",)] if end is REPLY else [])


def test_a_call_cancelled_while_it_waits_for_its_next_try_ends_at_once(run, path):
    script = Script(fault(FaultKind.SERVER, 100.0), REPLY)

    async def cancel_one(caller: Caller) -> float:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one_call, caller)
            await until(lambda: ask(path, "SELECT 1 FROM calls WHERE ended_at NOT NULL"))
            tasks.cancel_scope.cancel()
        return anyio.current_time()

    assert run(script, cancel_one) < 50
    assert len(script.sent) == 1
