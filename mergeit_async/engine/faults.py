"""What follows from a fault: one table from its kind to retry, stop or give up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType

from mergeit_async.errors import FaultKind, ProviderError, StoppedError

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
# Statuses of a gateway that stopped waiting: the server behind it may have done the work.
GAVE_UP_WAITING = (502, 504, 524)
# A server that asks for more than this is not waited for by one request: see Breaker.
LONGEST_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What one kind of fault means for its request, its cost and the run.

    `retry`: the same request may succeed later. `counts`: a retry uses up one of the request's
    tries. `verdict`: the server judged this very payload, so the group's originals stay, and the
    next run would hear the same. `billed`: the server may have done the work, so the call counts
    with all that was reserved for it.

    `elsewhere`: another server may take the same call; where there is one, it is asked before
    anything else follows. `of_server`: a server refuses all calls alike with this, so that it is
    done without at once where there are others.

    `stop_after`: consecutive faults without any success that stop the run, once there were
    nothing but faults for `patience_s` seconds; before the first success `first_patience_s`
    counts instead.
    """

    retry: bool = True
    counts: bool = True
    verdict: bool = False
    billed: bool = False
    elsewhere: bool = False
    of_server: bool = False
    stop_after: int = 20
    patience_s: float = 30.0
    first_patience_s: float = 15.0
    advice: str = ""


# No later request can succeed either: the run stops with the first of these.
STOP_AT_ONCE = Rule(
    retry=False,
    elsewhere=True,
    of_server=True,
    stop_after=1,
    patience_s=0.0,
    first_patience_s=0.0,
)
# The payload itself is at fault. If that holds for the first twenty, something else is.
VERDICT = Rule(
    retry=False,
    verdict=True,
    patience_s=inf,
    first_patience_s=0.0,
    advice="the first groups were all refused: check the model, its context length and the prompt",
)

RULES: Mapping[FaultKind, Rule] = MappingProxyType(
    {
        FaultKind.RATE_LIMIT: Rule(
            counts=False,
            patience_s=180.0,
            first_patience_s=180.0,
            advice="lower --rpm, --tpm or --max-in-flight",
        ),
        FaultKind.QUOTA: replace(STOP_AT_ONCE, advice="top up the account"),
        FaultKind.AUTH: replace(STOP_AT_ONCE, advice="check the key and which model it may use"),
        FaultKind.NOT_FOUND: replace(
            STOP_AT_ONCE, advice="check --base-url, and whether the server offers that model"
        ),
        FaultKind.BAD_REQUEST: Rule(
            retry=False,
            elsewhere=True,
            patience_s=0.0,
            first_patience_s=0.0,
            advice="check --base-url",
        ),
        FaultKind.CONTEXT_LENGTH: replace(VERDICT, elsewhere=True),
        FaultKind.CONTENT_FILTER: VERDICT,
        FaultKind.TOO_LARGE: Rule(
            retry=False,
            patience_s=inf,
            first_patience_s=0.0,
            advice="raise --tpm, or lower --max-output-tokens",
        ),
        FaultKind.SERVER: Rule(advice="see what the server's log says"),
        FaultKind.TIMEOUT: Rule(billed=True, advice="check the server, or raise --timeout"),
        FaultKind.CONNECTION: Rule(
            billed=True,
            stop_after=3,
            first_patience_s=3.0,
            advice="check that the server runs and --base-url is right",
        ),
        FaultKind.MALFORMED: Rule(
            billed=True, advice="check that --base-url speaks chat completions"
        ),
    }
)


def cost_of(fault: ProviderError, reserved: float) -> float:
    """US dollars that a failed call counts with: all that was reserved if it may be billed."""
    is_billed = RULES[fault.kind].billed or fault.status in GAVE_UP_WAITING
    return reserved if is_billed and fault.was_sent else 0.0


def backoff_s(fault: ProviderError, faults: int, jitter: float) -> float:
    """Seconds to wait after the `faults`-th fault of a request; `jitter` is uniform in [0, 1).

    A wait the server asked for is never shortened, only spread by up to a tenth; else the wait
    doubles from half a second on, and half of it is random, so that clients part ways.
    """
    if fault.retry_after_s is not None:
        return min(fault.retry_after_s, LONGEST_RETRY_AFTER_S) * (1 + 0.1 * jitter)
    full = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(faults - 1, 16))
    return full * (0.5 + 0.5 * jitter)


class Breaker:
    """Stops a run whose calls cannot succeed, instead of letting every group fail.

    `in_flight` is how many calls may be out at once; it may change.
    """

    def __init__(self, in_flight: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.in_flight = in_flight
        self._clock = clock
        self._ever_succeeded = False
        self._failing_since = 0.0
        self._consecutive = 0
        self._of_kind: Counter[FaultKind] = Counter()

    def success(self) -> None:
        """A call came through."""
        self._ever_succeeded = True
        self._consecutive = 0
        self._of_kind.clear()

    def fault(self, fault: ProviderError) -> None:
        """A call failed; raises `StoppedError` when the run should stop for it."""
        rule = RULES[fault.kind]
        if not rule.stop_after:
            return
        if self._consecutive == 0:
            self._failing_since = self._clock()
        self._consecutive += 1
        self._of_kind[fault.kind] += 1
        patience_s = rule.patience_s if self._ever_succeeded else rule.first_patience_s
        if patience_s:
            # A few broken connections say nothing while the other calls are still out.
            count, enough = self._consecutive, max(rule.stop_after, self.in_flight)
        else:
            # So soon only for the very same failure of each call.
            count, enough = self._of_kind[fault.kind], rule.stop_after
        if count >= enough and self._clock() - self._failing_since >= patience_s:
            raise stop_for(fault)


def stop_for(fault: ProviderError, advice: str = "") -> StoppedError:
    """The end of a run because of `fault`, with what the user can do about it."""
    server = f"The server {fault.server}" if fault.server else "The server"
    advice = advice or RULES[fault.kind].advice
    return StoppedError(f"{server} does not take the work: {fault}; {advice}.")
