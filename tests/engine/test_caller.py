from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from mergeit_async.engine.caller import GaveUp, Judgement
from mergeit_async.engine.faults import RULES
from mergeit_async.engine.lane import Lane
from mergeit_async.engine.lanes import PATIENCE_S, PROBE_EVERY_S, watch_lanes
from mergeit_async.engine.latency import ENOUGH, LOST_AT
from mergeit_async.errors import FaultKind, StoppedError
from mergeit_async.records import ChatReply, ChatRequest
from tests.calling import (
    MERGED,
    NEVER,
    REPLY,
    UNREPORTED,
    After,
    Desk,
    End,
    Script,
    ask,
    fault,
    lane,
    open_desk,
    request,
)

STOP = StoppedError("Stopped on request.")
ENDS = "SELECT result, cost FROM calls ORDER BY id"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def run(simulate, path: Path):
    """Run `act(desk)` on a clock that jumps, with a real journal; returns how it ended.

    Whatever happens, no slot and no money is left taken, and no call is left open.
    """

    def start(
        script: Script,
        act: Callable[[Desk], Awaitable[Any]],
        limits: dict[str, int] | None = None,
        **options: Any,
    ) -> Any:
        async def main() -> Any:
            async with open_desk(path, [lane(script, **(limits or {}))], **options) as desk:
                try:
                    return await act(desk)
                except (GaveUp, StoppedError) as end:
                    return end
                finally:
                    await asyncio.sleep(0.01)  # a copy that lost hears of it in the next turn
                    assert desk.holds() == (0, 0.0)

        end = simulate(main)
        assert ask(path, "SELECT * FROM calls WHERE ended_at IS NULL") == []
        return end

    return start


async def one_call(desk: Desk) -> Judgement:
    return await desk.call()


async def many_calls(desk: Desk, *keys: str) -> None:
    async with anyio.create_task_group() as tasks:
        for position, key in enumerate(keys):
            tasks.start_soon(desk.call, key, position)


def test_a_fault_that_may_pass_is_sent_again_after_the_wait_the_server_asked_for(run, path):
    script = Script([fault(FaultKind.SERVER, 7.0), REPLY])

    judgement = run(script, one_call)

    assert judgement == Judgement("accepted", MERGED)
    assert 7.0 <= script.sent_at[1] - script.sent_at[0] <= 7.71
    assert ask(path, "SELECT result, http_status FROM calls ORDER BY id") == [
        ("server", 503),
        ("accepted", 200),
    ]


def test_the_slot_is_free_while_a_request_waits_for_its_next_try(run):
    script = Script([fault(FaultKind.SERVER, 60.0)])
    run(script, lambda desk: many_calls(desk, "first", "second"), {"max_in_flight": 1})
    assert script.sent == ["first", "second", "first"]


def test_rate_limits_use_up_no_tries(run):
    script = Script([*[fault(FaultKind.RATE_LIMIT, 1.0)] * 10, fault(FaultKind.SERVER), REPLY])
    assert run(script, one_call, max_tries=2).verdict == "accepted"


def test_waits_for_a_rate_that_the_server_does_not_tell_grow_longer(run):
    script = Script([fault(FaultKind.RATE_LIMIT)] * 6)
    run(script, one_call)
    waits = [after - before for before, after in pairwise(script.sent_at)]
    assert waits[5] > 4 * waits[0]


def test_a_request_is_given_up_after_its_last_try(run, path):
    script = Script([fault(FaultKind.SERVER)] * 9)
    end = run(script, one_call, max_tries=3)
    assert isinstance(end, GaveUp)
    assert end.fault.kind is FaultKind.SERVER
    assert len(script.sent) == 3
    assert ask(path, "SELECT result, detail FROM calls") == [("server", "the server's words")] * 3


def test_a_verdict_on_the_payload_is_not_asked_for_twice(run):
    script = Script([fault(FaultKind.CONTEXT_LENGTH)])
    assert isinstance(run(script, one_call), GaveUp)
    assert len(script.sent) == 1


def test_a_refused_key_stops_the_run_at_once(run, path):
    script = Script([fault(FaultKind.AUTH)])
    end = run(script, one_call)
    assert isinstance(end, StoppedError)
    assert "check the key" in str(end)
    assert len(script.sent) == 1
    assert ask(path, ENDS) == [("auth", 0.0)]


def test_one_reply_among_many_refused_payloads_lets_the_run_go_on(run):
    refusal = fault(FaultKind.BAD_REQUEST)
    script = Script([*[refusal] * 19, REPLY, *[refusal] * 20])

    async def call_on(desk: Desk) -> None:
        while True:
            with suppress(GaveUp):
                await one_call(desk)

    assert isinstance(run(script, call_on), StoppedError)
    assert len(script.sent) == 40


def test_rate_limits_without_any_success_stop_the_run_after_minutes(run):
    script = Script(last=fault(FaultKind.RATE_LIMIT))

    async def act(desk: Desk) -> float:
        async def call() -> None:
            with pytest.raises(StoppedError, match="--rpm") as stopped:
                await desk.call()
            desk.caller.stop(stopped.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(call)
        return anyio.current_time()

    assert 180 <= run(script, act) <= 240


def test_the_intent_is_committed_before_the_send_and_the_end_after_it(run, path):
    script = Script()
    seen_on_send: list[Any] = []

    async def look() -> None:
        seen_on_send.append(ask(path, "SELECT request_key, reserved, ended_at FROM calls"))

    script.on_send = look
    run(script, one_call)

    assert seen_on_send == [[("k", 1.0, None)]]
    assert ask(path, "SELECT result, ended_at >= begun_at FROM calls") == [("accepted", 1)]
    assert ask(path, "SELECT request_key, text FROM replies") == [("k", "the text")]
    assert ask(path, "SELECT position, status FROM outcomes") == [(0, "merged")]


@pytest.mark.parametrize(("reply", "granted_after_s"), [(REPLY, 0.0), (UNREPORTED, 10.0)])
def test_the_tokens_that_a_server_reports_settle_those_reserved(run, reply, granted_after_s):
    script = Script(last=reply)

    async def two_calls(desk: Desk) -> None:
        await desk.call()
        await desk.call()

    run(script, two_calls, {"tpm": 6000})  # 100 a second; 1010 reserved

    assert script.sent_at[1] - script.sent_at[0] == pytest.approx(granted_after_s, abs=0.5)


def test_a_request_larger_than_the_limit_is_given_up_without_a_call(run, path):
    script = Script()
    end = run(script, one_call, {"tpm": 1009})
    assert isinstance(end, GaveUp)
    assert end.fault.kind is FaultKind.TOO_LARGE
    assert "1,010 tokens" in str(end)
    assert (script.sent, ask(path, ENDS)) == ([], [])


# What a call costs.


def test_a_reply_costs_what_the_server_reports_and_all_that_was_reserved_where_it_does_not(
    run, path
):
    script = Script([REPLY, UNREPORTED])
    spent: list[float] = []

    async def two_calls(desk: Desk) -> None:
        for _ in range(2):
            await desk.call()
            spent.append(desk.budget.spent)

    run(script, two_calls)

    assert spent == pytest.approx([0.005, 1.005])
    assert ask(path, ENDS) == [("accepted", 0.005), ("accepted", 1.0)]


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize("kind", FaultKind)
def test_a_fault_costs_all_that_was_reserved_only_where_the_server_may_have_done_the_work(
    run, path, kind, was_sent
):
    may_be_billed = {FaultKind.TIMEOUT, FaultKind.CONNECTION, FaultKind.MALFORMED}
    script = Script([fault(kind, 1.0, was_sent=was_sent)])

    async def act(desk: Desk) -> float:
        with suppress(GaveUp, StoppedError):
            await desk.call()
        return desk.budget.spent

    spent = run(script, act, max_tries=2)

    cost = 1.0 if kind in may_be_billed and was_sent else 0.0
    assert ask(path, ENDS)[0] == (str(kind), cost)
    assert spent == pytest.approx(cost + (0.005 if RULES[kind].retry else 0.0))


def test_a_call_waits_for_money_that_another_may_give_back(run):
    script = Script(last=After(10.0))
    run(script, lambda desk: many_calls(desk, "first", "second"), cap=1.5)
    assert script.sent == ["first", "second"]
    assert script.sent_at[1] - script.sent_at[0] == pytest.approx(10.0, abs=0.1)


def test_a_run_whose_money_is_spent_stops_before_the_call_that_could_pass_the_cap(run, path):
    script = Script(last=UNREPORTED)

    async def call_on(desk: Desk) -> None:
        while True:
            await desk.call()

    end = run(script, call_on, cap=3.5)

    assert isinstance(end, StoppedError)
    assert "--max-cost" in str(end)
    assert ask(path, ENDS) == [("accepted", 1.0)] * 3


def test_what_earlier_sessions_spent_counts(run, path):
    script = Script(last=UNREPORTED)
    run(script, one_call, cap=1.5)
    assert isinstance(run(script, one_call, cap=1.5), StoppedError)
    assert len(script.sent) == 1


# Deadlines.


async def learn(lane_: Lane, seconds: float) -> None:
    """Let a lane see enough calls of that length."""
    for _ in range(ENOUGH):
        lane_.latencies.add(seconds)


def test_a_call_may_take_as_long_as_the_user_says_until_latencies_are_known(run):
    script = Script()
    run(script, one_call, timeout_s=77.0)
    assert script.timeouts == [77.0]


def test_a_call_that_takes_far_longer_than_others_did_is_given_up_and_sent_again(run, path):
    script = Script([After(NEVER), REPLY])

    async def act(desk: Desk) -> Judgement:
        await learn(desk.lane, 2.0)
        return await desk.call()

    assert run(script, act).verdict == "accepted"
    assert script.timeouts == [LOST_AT * 2.0] * 2
    assert ask(path, ENDS) == [("timeout", 1.0), ("accepted", 0.005)]


def test_a_server_that_has_become_slower_than_all_that_was_learned_is_waited_for(run):
    script = Script(last=After(30.0))

    async def act(desk: Desk) -> Judgement:
        await learn(desk.lane, 1.0)
        return await desk.call()

    assert run(script, act, max_tries=100).verdict == "accepted"
    assert script.timeouts[0] == LOST_AT
    assert script.timeouts[-1] == 80.0


# Stopping: who waits to send gets the error, an exchange under way is finished and committed.


def stopping_after(seconds: float, *keys: str) -> Callable[[Desk], Awaitable[tuple[float, list]]]:
    """Make calls and stop after a while; returns how long all took, and how each ended."""

    async def act(desk: Desk) -> tuple[float, list[Any]]:
        calls = [asyncio.ensure_future(desk.call(key, n)) for n, key in enumerate(keys)]
        await asyncio.sleep(seconds)
        desk.caller.stop(STOP)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        return anyio.current_time(), ends

    return act


@pytest.mark.parametrize(
    ("limits", "cap", "stopped_at"),
    [
        ({"max_in_flight": 1}, None, 20.0),
        ({"rpm": 1}, None, 80.0),
        ({"tpm": 1020}, None, 20.0),
        ({}, 1.5, 20.0),
    ],
    ids=["place", "requests", "tokens", "money"],
)
def test_a_stop_ends_the_wait_of_a_call_that_is_not_sent_yet(run, path, limits, cap, stopped_at):
    script = Script(last=After(70.0, UNREPORTED))

    took_s, ends = run(script, stopping_after(stopped_at, "first", "second"), limits, cap=cap)

    assert script.sent == ["first"]
    assert ends == [Judgement("accepted", MERGED), STOP]
    assert took_s == pytest.approx(script.sent_at[0] + 70.0, abs=0.1)
    # Whoever waits for money has written no intent yet.
    assert ask(path, ENDS) == [("accepted", 1.0), ("not_sent", 0.0)][: 1 if cap else 2]


def test_a_stop_ends_the_wait_for_the_next_try(run, path):
    script = Script([fault(FaultKind.SERVER, 100.0)])
    took_s, ends = run(script, stopping_after(20.0, "k"))
    assert took_s == pytest.approx(20.0, abs=0.1)
    assert ends == [STOP]
    assert ask(path, ENDS) == [("server", 0.0)]


@pytest.mark.parametrize(
    ("end", "recorded"), [(REPLY, "accepted"), (fault(FaultKind.SERVER, 100.0), "server")]
)
def test_an_exchange_under_way_is_finished_and_committed_when_the_run_stops(
    run, path, end, recorded
):
    script = Script(last=After(5.0, end))

    took_s, ends = run(script, stopping_after(1.0, "k"))

    assert took_s == pytest.approx(5.0, abs=0.1)
    assert ends == [Judgement("accepted", MERGED) if end is REPLY else STOP]
    assert ask(path, "SELECT result FROM calls") == [(recorded,)]
    outcomes = ask(path, "SELECT status FROM outcomes")
    assert outcomes == ([("merged",)] if end is REPLY else [])


def test_nothing_is_sent_once_the_run_has_stopped(run, path):
    async def act(desk: Desk) -> Judgement:
        desk.caller.stop(STOP)
        return await desk.call()

    script = Script()
    assert run(script, act) is STOP
    assert script.sent == []


@pytest.mark.parametrize("limits", [{"max_in_flight": 1}, {"max_in_flight": 9, "rpm": 1}])
def test_a_call_cancelled_while_it_waits_for_a_slot_is_not_sent_and_leaves_none_taken(
    run, path, limits
):
    script = Script(last=After(70.0))

    async def cancel_one(desk: Desk) -> None:
        first = asyncio.ensure_future(desk.call("first"))
        await asyncio.sleep(61)
        second = asyncio.ensure_future(desk.call("second"))
        await asyncio.sleep(1)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

    run(script, cancel_one, limits)

    assert script.sent == ["first"]
    assert sorted(ask(path, ENDS)) == [("accepted", 0.005), ("not_sent", 0.0)]


def test_a_call_cancelled_in_its_exchange_may_have_been_billed(run, path):
    async def cancel_one(desk: Desk) -> None:
        call = asyncio.ensure_future(desk.call())
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    run(Script(last=After(5.0)), cancel_one)
    assert ask(path, ENDS) == [("abandoned", 1.0)]


# Hedging: whichever copy gets a reply first counts.

HEDGED_S = 1.5


def hedged(script: Script, run: Any, *, act: Any = one_call, **options: Any) -> Any:
    """Run `act` with a 99th percentile of a second."""

    async def learned(desk: Desk) -> Any:
        await learn(desk.lane, 1.0)
        return await act(desk)

    return run(script, learned, hedge=True, **options)


def test_a_call_of_usual_length_is_sent_once(run):
    script = Script(last=After(HEDGED_S - 0.1))
    hedged(script, run)
    assert len(script.sent) == 1


def test_nothing_is_sent_twice_before_latencies_are_known(run):
    script = Script(last=After(70.0))
    run(script, one_call, hedge=True)
    assert len(script.sent) == 1


@pytest.mark.parametrize("faster", [0, 1])
def test_the_first_of_two_replies_counts_and_the_other_copy_costs_all_that_was_reserved(
    run, path, faster
):
    replies = [ChatReply(f"copy {place}", "stop", 5, 5) for place in range(2)]
    took_s = [2.0, 2.0]
    took_s[faster] = 0.3 if faster else 1.7
    script = Script([After(*step) for step in zip(took_s, replies, strict=True)])

    hedged(script, run)

    assert script.sent_at[1] - script.sent_at[0] == pytest.approx(HEDGED_S, abs=0.01)
    ends = [("abandoned", 1.0)] * 2
    ends[faster] = ("accepted", 0.005)
    assert ask(path, ENDS) == ends
    assert ask(path, "SELECT text FROM replies") == [(f"copy {faster}",)]


def together(*steps: End) -> Script:
    """A server at which two calls end in one turn of the loop, each in its own task."""
    script, both = Script(list(steps)), asyncio.Event()

    async def wait_for_both() -> None:
        if len(script.sent) == 2:
            both.set()
        await both.wait()

    script.on_send = wait_for_both
    return script


def test_two_replies_at_the_same_moment_are_both_accounted_for(run, path):
    hedged(together(), run)
    assert sorted(ask(path, ENDS)) == [("abandoned", 0.005), ("accepted", 0.005)]


@pytest.mark.parametrize("first", [After(1.6, fault(FaultKind.SERVER)), After(2.0)])
@pytest.mark.parametrize("second", [After(0.05, fault(FaultKind.SERVER)), After(0.3)])
def test_a_copy_that_fails_does_not_fail_the_call_unless_the_other_does(run, path, first, second):
    script = Script([first, second])
    hedged(script, run)
    verdicts = [result for result, _ in ask(path, ENDS)]
    assert verdicts.count("accepted") == 1
    # Only where both copies failed is there a next try.
    failed = all(isinstance(step.end, Exception) for step in (first, second))
    assert len(script.sent) == (3 if failed else 2)
    assert len(ask(path, "SELECT 1 FROM outcomes")) == 1


def test_both_copies_may_fail_at_the_same_moment(run, path):
    hedged(together(fault(FaultKind.SERVER), fault(FaultKind.TIMEOUT)), run)
    assert sorted(result for result, _ in ask(path, ENDS)) == ["accepted", "server", "timeout"]


def test_a_copy_that_waits_for_money_ends_with_the_call(run, path):
    script = Script(last=After(3.0))
    hedged(script, run, cap=1.5)
    assert len(script.sent) == 1
    assert ask(path, ENDS) == [("accepted", 0.005)]


def test_a_copy_that_waits_for_a_place_ends_with_the_call(run, path):
    async def two_calls(desk: Desk) -> None:
        await many_calls(desk, "first", "second")

    script = Script([After(3.0), After(3.5)], last=After(3.0))
    hedged(script, run, act=two_calls, limits={"max_in_flight": 2})
    ends = ask(path, ENDS)
    assert ends[:2] == [("accepted", 0.005)] * 2
    # The place that its own call leaves may still reach it.
    assert set(ends[2:]) <= {("not_sent", 0.0), ("abandoned", 1.0)}


def test_a_stop_lets_the_copies_under_way_finish(run, path):
    async def act(desk: Desk) -> tuple[float, list[Any]]:
        return await stopping_after(1.6, "k")(desk)

    script = Script([After(3.0), After(NEVER)])
    took_s, ends = hedged(script, run, act=act)
    assert (took_s, ends) == (pytest.approx(3.0, abs=0.1), [Judgement("accepted", MERGED)])
    assert ask(path, ENDS) == [("accepted", 0.005), ("abandoned", 1.0)]


def test_a_hedged_call_that_is_cancelled_takes_its_copies_with_it(run, path):
    async def cancel_one(desk: Desk) -> None:
        call = asyncio.ensure_future(desk.call())
        await asyncio.sleep(2.0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    hedged(Script(last=After(3.9)), run, act=cancel_one)
    assert ask(path, ENDS) == [("abandoned", 1.0)] * 2


# Several servers: what one refuses, another may take.


def two_lanes(
    simulate: Any,
    path: Path,
    wrong: Script,
    right: Script,
    act: Callable[[Desk], Awaitable[Any]],
    **options: Any,
) -> Any:
    """Run `act` with a lane to each of two servers."""

    async def main() -> Any:
        lanes = [lane(wrong, name="wrong"), lane(right, name="right")]
        async with open_desk(path, lanes, **options) as desk:
            try:
                return await act(desk)
            finally:
                assert desk.holds() == (0, 0.0)

    return simulate(main)


ONE_LANE_ONLY = (FaultKind.AUTH, FaultKind.QUOTA, FaultKind.NOT_FOUND)
MAYBE_THE_PAYLOAD = (FaultKind.BAD_REQUEST, FaultKind.CONTEXT_LENGTH)


@pytest.mark.parametrize("kind", [*ONE_LANE_ONLY, *MAYBE_THE_PAYLOAD])
def test_a_server_that_refuses_all_calls_is_taken_out_and_costs_no_call_a_try(simulate, path, kind):
    wrong, right = Script(last=fault(kind)), Script(last=After(1.0))

    async def act(desk: Desk) -> list[bool]:
        await many_at_once(desk, workers=16, calls=60)
        return [lane.is_out for lane in desk.limiter.lanes]

    assert two_lanes(simulate, path, wrong, right, act, max_tries=1) == [True, False]
    assert len(right.sent) == 60
    assert ask(path, "SELECT count(*) FROM outcomes WHERE status = 'merged'") == [(1,)]
    most = 1 + 8 if kind in ONE_LANE_ONLY else 5 + 16
    assert 1 <= len(wrong.sent) <= most


@pytest.mark.parametrize("kind", MAYBE_THE_PAYLOAD)
def test_a_payload_that_every_server_refuses_settles_its_group_alone(simulate, path, kind):
    class Choosy(Script):
        async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
            self.last = fault(kind) if request.key.startswith("bad") else REPLY
            return await super().complete(request, timeout_s)

    async def act(desk: Desk) -> list[bool]:
        for place in range(20):
            await desk.call(f"good {place}", 0)
            for each in range(3):
                with pytest.raises(GaveUp):
                    await desk.call(f"bad {place} {each}", 1)
        return [lane.is_out for lane in desk.limiter.lanes]

    one, two = Choosy(), Choosy()
    assert two_lanes(simulate, path, one, two, act) == [False, False]
    bad = [key for key in one.sent + two.sent if key.startswith("bad")]
    assert len(bad) == 2 * 60, "each server was asked once"


@pytest.mark.parametrize("kind", ONE_LANE_ONLY)
def test_the_run_stops_with_the_first_call_that_the_last_server_refuses(simulate, path, kind):
    one, two = Script(last=fault(FaultKind.AUTH)), Script(last=fault(kind))

    async def act(desk: Desk) -> None:
        with pytest.raises(StoppedError, match=f"right .*{kind}"):
            await desk.call()

    two_lanes(simulate, path, one, two, act)
    assert (len(one.sent), len(two.sent)) == (1, 1)


async def call_while_the_other_is_out(desk: Desk, why: FaultKind, back_after_s: float) -> Any:
    """A call while the second server is left out; it is back after a while."""
    _, other = desk.limiter.lanes
    other.is_out, other.last_fault = True, fault(why)

    def bring_back() -> None:
        other.revive()
        desk.limiter.grant()

    asyncio.get_running_loop().call_later(back_after_s, bring_back)
    try:
        return await desk.call()
    except (GaveUp, StoppedError) as end:
        return end


@pytest.mark.parametrize("kind", ONE_LANE_ONLY)
def test_a_call_waits_for_the_only_other_server_while_that_is_in_trouble(simulate, path, kind):
    async def act(desk: Desk) -> tuple[Any, float]:
        end = await call_while_the_other_is_out(desk, FaultKind.CONNECTION, back_after_s=9.0)
        return end, anyio.current_time()

    end, at = two_lanes(simulate, path, Script(last=fault(kind)), Script(), act, max_tries=1)
    assert (end, at) == (Judgement("accepted", MERGED), pytest.approx(9.0, abs=0.1))


@pytest.mark.parametrize(
    ("kind", "why_the_other_is_out", "ends_with"),
    [
        *[(kind, FaultKind.AUTH, StoppedError) for kind in ONE_LANE_ONLY],
        *[(kind, FaultKind.CONNECTION, GaveUp) for kind in MAYBE_THE_PAYLOAD],
    ],
)
def test_no_call_waits_for_a_server_that_refuses_nor_with_a_refused_payload(
    simulate, path, kind, why_the_other_is_out, ends_with
):
    async def act(desk: Desk) -> tuple[type, float]:
        end = await call_while_the_other_is_out(desk, why_the_other_is_out, back_after_s=9.0)
        return type(end), anyio.current_time()

    ended = two_lanes(simulate, path, Script(last=fault(kind)), Script(), act)
    assert ended == (ends_with, pytest.approx(0.0, abs=0.1))


def test_a_run_whose_only_other_server_stays_in_trouble_stops_after_a_while(simulate, path):
    refusing, dead = Script(last=fault(FaultKind.QUOTA)), Script(is_there=False)

    async def act(desk: Desk) -> tuple[Any, float]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_lanes, desk.limiter, desk.caller.stop)
            end = await call_while_the_other_is_out(desk, FaultKind.CONNECTION, NEVER)
            tasks.cancel_scope.cancel()
        return end, anyio.current_time()

    end, at = two_lanes(simulate, path, refusing, dead, act)
    assert isinstance(end, StoppedError)
    assert PATIENCE_S <= at <= PATIENCE_S + 3 * PROBE_EVERY_S


def test_refused_calls_go_back_to_where_they_were_refused_when_no_other_server_is_left(
    simulate, path
):
    wrong, right = Script(last=fault(FaultKind.BAD_REQUEST)), Script(last=After(5.0))

    async def act(desk: Desk) -> None:
        lanes = desk.limiter.lanes
        call = asyncio.ensure_future(desk.call("first"))
        await asyncio.sleep(1.0)
        lanes[1].window.set_ceiling(1)
        second = asyncio.ensure_future(desk.call("second"))
        await asyncio.sleep(1.0)
        lanes[1].is_out = True
        await call
        with pytest.raises(GaveUp):
            await second

    two_lanes(simulate, path, wrong, right, act)
    assert wrong.sent == ["first", "second", "second"]


def test_faults_are_counted_by_kind(simulate, path):
    steps = [fault(FaultKind.RATE_LIMIT, 1.0), fault(FaultKind.SERVER), REPLY]

    async def act(desk: Desk) -> dict[FaultKind, int]:
        await desk.call()
        return dict(desk.limiter.faults)

    seen = two_lanes(simulate, path, Script(list(steps)), Script(list(steps)), act)
    assert sum(seen.values()) >= 1
    assert set(seen) <= {FaultKind.RATE_LIMIT, FaultKind.SERVER}


def test_a_server_that_takes_fewer_payloads_than_the_others_stays_in(simulate, path):
    class Narrow(Script):
        async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
            is_long = request.key.startswith("long")
            self.last = fault(FaultKind.CONTEXT_LENGTH) if is_long else REPLY
            return await super().complete(request, timeout_s)

    async def act(desk: Desk) -> list[bool]:
        for place in range(10):
            for key in ("short", "long 1", "long 2", "long 3"):
                await desk.call(f"{key} {place}", 0)
        return [lane.is_out for lane in desk.limiter.lanes]

    narrow, wide = Narrow(), Script()
    assert two_lanes(simulate, path, narrow, wide, act) == [False, False]
    assert [key for key in wide.sent if key.startswith("long")] == wide.sent
    assert len(wide.sent) == 30


def test_a_paid_reply_is_kept_though_its_judge_fails(run, path):
    async def fail(reply: ChatReply) -> Judgement:
        raise LookupError(reply.text)

    async def act(desk: Desk) -> None:
        with pytest.raises(LookupError):
            await desk.caller.call(0, request("k"), fail)

    run(Script(last=REPLY), act)

    assert ask(path, "SELECT request_key, text FROM replies") == [("k", REPLY.text)]
    assert [result for result, _ in ask(path, ENDS)] == ["unjudged"]


async def many_at_once(desk: Desk, workers: int, calls: int) -> float:
    """Seconds that so many calls take, with so many at once that want to."""
    positions = iter(range(calls))

    async def work() -> None:
        for position in positions:
            await desk.call(str(position), position)

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(work)
    return anyio.current_time() - began


def test_a_slow_disk_does_not_starve_the_servers(run, monkeypatch):
    async def act(desk: Desk) -> float:
        begin = desk.journal.begin_call

        async def begin_late(*values: Any) -> None:
            await anyio.sleep(0.4)
            await begin(*values)

        monkeypatch.setattr(desk.journal, "begin_call", begin_late)
        return await many_at_once(desk, workers=128, calls=1280)

    took_s = run(Script(last=After(1.0, REPLY)), act, {"max_in_flight": 64})

    assert took_s < 1.5 * 1280 / 64
