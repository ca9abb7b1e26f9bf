from __future__ import annotations

import re
from typing import Any

import pytest

from mergeit_async.errors import UsageError
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
        ("faults", ["server"]),
        ("faults", {"server": "often"}),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name} is {value}")):
        SimulatorSettings(**{name: value})


def test_the_key_is_not_in_the_representation() -> None:
    assert "sk-secret" not in repr(SimulatorSettings(api_key="sk-secret"))
