"""What a simulated server is like: its address, speed, limits and faults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from mergeit_async.errors import UsageError

TokenCharge = Literal["prompt+max", "reported"]
RetryAfterStyle = Literal["seconds", "date", "ms", "none"]


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Settings of one simulated server.

    `port` 0 takes any free port. `models` lists the names served; empty serves any name.
    `api_key` None accepts any caller, else a wrong or missing bearer token is answered with 401.

    `latency_s` is the median time to an answer; `latency_sigma` is the sigma of its log-normal
    distribution, 0 for a constant.

    `rpm` and `tpm` are limits per minute, None for unlimited; their buckets hold `burst_s` seconds'
    worth. `tpm_charge` says what a request costs: its prompt and its maximum output when it
    arrives, or its prompt then and its real output when it is answered. `retry_after_style` is the
    form in which a 429 says how long to wait.

    `fault_rate` is the share of arrivals that meet a transport fault of the default mix; `faults`
    gives rates by kind, on top of it. `content_fault_rate` and `content_faults` do the same for
    answers whose text is no good. `fault_retry_after_s` is what an injected 429 asks for, and
    `hang_s` how long an injected hang stays silent before it answers after all.

    Raises UsageError for a value outside its range.
    """

    host: str = "127.0.0.1"
    port: int = 0
    models: tuple[str, ...] = ("sim-merge",)
    api_key: str | None = field(default=None, repr=False)
    seed: int = 0
    latency_s: float = 0.0
    latency_sigma: float = 0.0
    rpm: float | None = None
    tpm: float | None = None
    tpm_charge: TokenCharge = "prompt+max"
    burst_s: float = 60.0
    retry_after_style: RetryAfterStyle = "seconds"
    fault_rate: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    fault_retry_after_s: float = 1.0
    hang_s: float = 5.0
    content_fault_rate: float = 0.0
    content_faults: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_range("port", self.port, 0, 65535)
        _check_range("seed", self.seed, -(2**63), 2**63 - 1)
        for name in ("latency_s", "latency_sigma", "fault_retry_after_s", "hang_s"):
            _check_range(name, getattr(self, name), 0, math.inf)
        for name in ("rpm", "tpm", "burst_s"):
            _check_positive(name, getattr(self, name))
        _check_choice("tpm_charge", self.tpm_charge, get_args(TokenCharge))
        _check_choice("retry_after_style", self.retry_after_style, get_args(RetryAfterStyle))


def _check_range(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise UsageError(
            f"Simulator setting {name} is {value}; give a number from {lowest} to {highest}."
        )


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"Simulator setting {name} is {value}; give a number above 0.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"Simulator setting {name} is {value}; choose among {', '.join(choices)}.")
