"""What a simulated server is like: its address, speed, limits and faults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mergeit_async.errors import UsageError

TokenCharge = Literal["prompt+max", "reported"]
RetryAfterStyle = Literal["seconds", "date", "ms", "none", "week"]
Structured = Literal["json_schema", "json_object", "none", "ignored", "broken"]
Logprobs = Literal["offered", "refused", "ignored"]

_NOT_NEGATIVE = ("latency_s", "latency_sigma", "fault_retry_after_s", "hang_s", "drip_interval_s")
_POSITIVE = ("rpm", "tpm", "burst_s")
_SHARES = ("fault_rate", "content_fault_rate", "flaw_rate", "repair_failure_rate")
_RATES_BY_KIND = ("faults", "content_faults", "judge_faults")
_CHOICES = {
    "tpm_charge": get_args(TokenCharge),
    "retry_after_style": get_args(RetryAfterStyle),
    "structured": get_args(Structured),
    "logprobs": get_args(Logprobs),
}
_COUNTS = ("max_concurrent", "huge_bytes", "bomb_bytes")


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Settings of one simulated server.

    `port` 0 takes any free port. `models` lists the names served; empty serves any name.
    `api_key` None accepts any caller, else a wrong or missing bearer token is answered with 401.

    `latency_s` is the median time to an answer; `latency_sigma` is the sigma of its log-normal
    distribution, 0 for a constant.

    `rpm` and `tpm` are limits per minute, None for unlimited; their buckets hold `burst_s` seconds'
    worth. `tpm_charge` says what a request costs: its prompt and its maximum output when it
    arrives, or its prompt then and its real output when it is answered. `max_concurrent` is the
    number of requests in flight beyond which one is refused with 429, None for no limit.
    `rate_headers` tells about limits in x-ratelimit headers. `retry_after_style` is the form in
    which a 429 says how long to wait; `week` asks for a week whatever the limits say.

    `prompt_cache` reports the tokens before the last user turn as cached once the same turns were
    answered before. Answers then depend on what came first.

    `structured` is what becomes of a response_format: "json_schema" takes schemas and json_object,
    "json_object" refuses schemas and "none" any form with 400, "ignored" takes all to no effect,
    and "broken" answers all with 500. `logprobs` says whether log-probabilities are offered,
    refused with 400, or asked for in vain. `judge_models` score the row of a prompt that shows just
    one; any model compares two candidates. `judge_faults` gives rates by kind of answers that are
    no such verdicts; `position_bias` is that of pairs whose first row is preferred whatever it is.

    `fault_rate` is the share of arrivals that meet a transport fault of the default mix; `faults`
    gives rates by kind, on top of it. `content_fault_rate` and `content_faults` do the same for
    answers whose text is no good, and `flaw_rate` is the share, on top of both, of merges that look
    right and lack or change something, evenly over all flaws. None of these touch repairs, of which
    the share `repair_failure_rate` is flawed again. `fault_retry_after_s` is what an injected 429
    asks for, `hang_s` how long an injected hang stays silent before it answers after all,
    `drip_interval_s` the time between two bytes of a dripping answer, `huge_bytes` the size of a
    huge one, `bomb_bytes` that of a gzip bomb when unpacked, and `redirect_to` where a redirect
    points.

    Raises UsageError for a value outside its range.
    """

    host: str = "127.0.0.1"
    port: int = 0
    models: tuple[str, ...] = ("sim-merge", "sim-judge")
    api_key: str | None = field(default=None, repr=False)
    seed: int = 0
    latency_s: float = 0.0
    latency_sigma: float = 0.0
    rpm: float | None = None
    tpm: float | None = None
    tpm_charge: TokenCharge = "prompt+max"
    burst_s: float = 60.0
    max_concurrent: int | None = None
    rate_headers: bool = True
    retry_after_style: RetryAfterStyle = "seconds"
    prompt_cache: bool = False
    structured: Structured = "json_schema"
    logprobs: Logprobs = "offered"
    judge_models: tuple[str, ...] = ("sim-judge",)
    judge_faults: Mapping[str, float] = field(default_factory=dict)
    fault_rate: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    fault_retry_after_s: float = 1.0
    hang_s: float = 5.0
    drip_interval_s: float = 1.0
    huge_bytes: int = 10**9
    bomb_bytes: int = 10**9
    redirect_to: str = "http://127.0.0.1:9/v1/chat/completions"
    content_fault_rate: float = 0.0
    content_faults: Mapping[str, float] = field(default_factory=dict)
    flaw_rate: float = 0.0
    repair_failure_rate: float = 0.0

    def __post_init__(self) -> None:
        _check_range("port", self.port, 0, 65535)
        _check_range("seed", self.seed, -(2**63), 2**63 - 1)
        for name in _NOT_NEGATIVE:
            _check_range(name, getattr(self, name), 0, math.inf)
        for name in _SHARES:
            _check_range(name, getattr(self, name), 0, 1)
        for name in _POSITIVE:
            _check_positive(name, getattr(self, name))
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        for name in _RATES_BY_KIND:
            _check_rates_by_kind(name, getattr(self, name))
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)


def is_number(value: Any) -> bool:
    """Whether `value` is an int or a float; True and False are neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(name: str, value: Any, lowest: float, highest: float) -> None:
    if not (is_number(value) and lowest <= value <= highest):
        raise UsageError(
            f"Simulator setting {name} is {value}; give a number from {lowest} to {highest}."
        )


def _check_positive(name: str, value: Any) -> None:
    if value is None and name != "burst_s":
        return
    if not (is_number(value) and 0 < value < math.inf):
        raise UsageError(f"Simulator setting {name} is {value}; give a number above 0.")


def _check_count(name: str, value: Any) -> None:
    if value is None and name == "max_concurrent":
        return
    if not (isinstance(value, int) and is_number(value) and value > 0):
        raise UsageError(f"Simulator setting {name} is {value}; give a whole number above 0.")


def _check_rates_by_kind(name: str, value: Any) -> None:
    if not (isinstance(value, Mapping) and all(map(is_number, value.values()))):
        raise UsageError(f"Simulator setting {name} is {value}; give a rate for each kind.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"Simulator setting {name} is {value}; choose among {', '.join(choices)}.")
