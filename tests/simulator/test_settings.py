from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from mergeit_async.errors import UsageError
from mergeit_async.options import simulator_options, simulator_values
from mergeit_async.simulator.settings import SimulatorSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 70000),
        ("seed", 2**63),
        ("latency_s", -0.1),
        ("latency_sigma", float("nan")),
        ("rpm", 0),
        ("tpm", -5),
        ("rpm", float("inf")),
        ("burst_s", 0),
        ("hang_s", -1),
        ("tpm_charge", "nothing"),
        ("retry_after_style", "weeks"),
        ("latency_s", "soon"),
        ("rpm", True),
        ("max_concurrent", 0),
        ("max_concurrent", 1.5),
        ("huge_bytes", 0),
        ("bomb_bytes", None),
        ("drip_interval_s", -1),
        ("fault_rate", 1.1),
        ("content_fault_rate", -0.1),
        ("flaw_rate", 1.5),
        ("repair_failure_rate", "often"),
        ("structured", "xml"),
        ("logprobs", "maybe"),
        ("judge_faults", {"prose": None}),
        ("faults", ["server"]),
        ("faults", {"server": "often"}),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name} is {value}")):
        SimulatorSettings(**{name: value})


def test_the_key_is_not_in_the_representation() -> None:
    assert "sk-secret" not in repr(SimulatorSettings(api_key="sk-secret"))


def test_options_of_the_command_become_settings() -> None:
    given = {
        "structured": "none",
        "logprobs": "refused",
        "flaw_rate": 0.1,
        "repair_failure_rate": 0.2,
        "judge_fault": ["prose=0.3", "score_only=0.1"],
    }
    declared = inspect.signature(simulator_options).parameters

    assert given.keys() <= declared.keys()
    assert SimulatorSettings(**simulator_values(dict.fromkeys(declared) | given)) == (
        SimulatorSettings(
            structured="none",
            logprobs="refused",
            flaw_rate=0.1,
            repair_failure_rate=0.2,
            judge_faults={"prose": 0.3, "score_only": 0.1},
        )
    )


def test_a_rate_of_a_judge_that_is_none_is_refused_by_its_option() -> None:
    with pytest.raises(UsageError, match="--judge-fault 'prose' is not KIND=RATE"):
        simulator_values({"judge_fault": ["prose"]})
