from __future__ import annotations

import pytest

from mergeit_async.engine.faults import (
    LONGEST_RETRY_AFTER_S,
    RULES,
    Breaker,
    backoff_s,
    cost_of,
)
from mergeit_async.errors import FaultKind, ProviderError, StoppedError


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def fault(kind: FaultKind, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError(kind, "the server's words", retry_after_s=retry_after_s)


def test_every_kind_of_fault_has_a_rule():
    assert set(RULES) == set(FaultKind)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_a_wait_the_server_asked_for_is_never_shortened(jitter):
    assert 7.0 <= backoff_s(fault(FaultKind.RATE_LIMIT, 7.0), 1, jitter) <= 7.7


def test_a_hostile_wait_of_a_week_is_cut():
    asked = fault(FaultKind.RATE_LIMIT, 7 * 24 * 3600)
    assert backoff_s(asked, 1, 0.0) == LONGEST_RETRY_AFTER_S


def test_waits_double_up_to_a_ceiling():
    waits = [backoff_s(fault(FaultKind.SERVER), tries, 0.999) for tries in range(1, 12)]
    assert waits[:4] == pytest.approx([0.5, 1, 2, 4], rel=0.01)
    assert max(waits) <= 30


@pytest.mark.parametrize("kind", [FaultKind.AUTH, FaultKind.QUOTA, FaultKind.NOT_FOUND])
def test_a_refusal_of_all_work_stops_at_once(kind):
    with pytest.raises(StoppedError, match=str(kind)):
        Breaker(clock=Clock()).fault(fault(kind))


def test_an_unreachable_server_stops_the_run_within_seconds():
    clock = Clock()
    breaker = Breaker(clock=clock)
    breaker.fault(fault(FaultKind.CONNECTION))
    breaker.fault(fault(FaultKind.CONNECTION))
    clock.now = 3.0
    with pytest.raises(StoppedError, match="base-url"):
        breaker.fault(fault(FaultKind.CONNECTION))


def test_a_few_broken_connections_at_the_start_do_not_stop_a_run_with_many_calls_out():
    clock = Clock()
    breaker = Breaker(in_flight=64, clock=clock)
    for second in range(0, 40, 10):
        clock.now = second
        breaker.fault(fault(FaultKind.CONNECTION))


def test_how_many_calls_say_something_follows_the_places_there_are():
    clock = Clock()
    breaker = Breaker(in_flight=1000, clock=clock)
    for second in range(0, 200, 2):
        clock.now = second
        breaker.fault(fault(FaultKind.SERVER))
    breaker.in_flight = 20
    with pytest.raises(StoppedError):
        breaker.fault(fault(FaultKind.SERVER))


def test_a_run_that_makes_progress_rides_out_any_number_of_faults():
    clock = Clock()
    breaker = Breaker(clock=clock)
    for second in range(1000):
        clock.now = second
        for kind in (FaultKind.SERVER, FaultKind.CONNECTION, FaultKind.RATE_LIMIT):
            breaker.fault(fault(kind))
        breaker.success()


def test_rate_limits_without_any_success_stop_the_run_in_the_end():
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(50):
        breaker.fault(fault(FaultKind.RATE_LIMIT))
    clock.now = 181.0
    with pytest.raises(StoppedError, match="--rpm"):
        breaker.fault(fault(FaultKind.RATE_LIMIT))


def test_the_same_refusal_of_the_first_twenty_payloads_stops_the_run():
    breaker = Breaker(clock=Clock())
    for _ in range(19):
        breaker.fault(fault(FaultKind.BAD_REQUEST))
    with pytest.raises(StoppedError):
        breaker.fault(fault(FaultKind.BAD_REQUEST))


VERDICTS = [kind for kind, rule in RULES.items() if rule.verdict]


@pytest.mark.parametrize("kind", [*VERDICTS, FaultKind.TOO_LARGE])
def test_verdicts_on_single_payloads_never_stop_a_run_in_which_others_succeed(kind):
    breaker = Breaker(clock=Clock())
    breaker.success()
    for _ in range(1000):
        breaker.fault(fault(kind))


@pytest.mark.parametrize("kind", [*VERDICTS, FaultKind.TOO_LARGE])
def test_a_run_whose_first_twenty_payloads_are_all_refused_stops(kind):
    breaker = Breaker(in_flight=64, clock=Clock())
    for _ in range(19):
        breaker.fault(fault(kind))
    with pytest.raises(StoppedError, match=r"check|raise"):
        breaker.fault(fault(kind))


def test_only_the_servers_word_on_a_payload_keeps_its_originals_for_good():
    assert set(VERDICTS) == {FaultKind.CONTEXT_LENGTH, FaultKind.CONTENT_FILTER}


@pytest.mark.parametrize("kind", FaultKind)
def test_a_call_that_was_not_sent_costs_nothing(kind):
    assert cost_of(ProviderError(kind, "", was_sent=False), reserved=1.0) == 0.0


def test_a_call_whose_work_may_have_been_done_costs_all_that_was_reserved():
    costs = {kind: cost_of(fault(kind), reserved=0.7) for kind in FaultKind}
    billed = {FaultKind.TIMEOUT, FaultKind.CONNECTION, FaultKind.MALFORMED}
    assert costs == {kind: 0.7 if kind in billed else 0.0 for kind in FaultKind}


@pytest.mark.parametrize(("status", "cost"), [(500, 0.0), (503, 0.0), (502, 2.0), (504, 2.0)])
def test_a_gateway_that_stopped_waiting_may_have_been_billed(status, cost):
    assert cost_of(ProviderError(FaultKind.SERVER, "words", status=status), 2.0) == cost
