"""How servers take forms and probabilities is found out before the first merge."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.budget import Budget
from mergeit_async.engine.caller import Caller
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.probe import Probe
from mergeit_async.engine.prompts import find_prompts
from mergeit_async.engine.requests import Requests
from mergeit_async.errors import FaultKind, StoppedError
from mergeit_async.providers.chat import ChatProvider
from mergeit_async.providers.http import HttpChat
from mergeit_async.records import ChatReply
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.calling import Script, fault, lane


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxy settings of the machine away from the servers here."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@asynccontextmanager
async def probing(
    path: Path, providers: Sequence[ChatProvider], names: Sequence[str]
) -> AsyncIterator[Probe]:
    async with open_journal(path) as journal:
        lanes = [lane(each, name=name) for each, name in zip(providers, names, strict=False)]
        caller = Caller(Limiter(lanes), journal, Budget(), timeout_s=5.0, max_tries=8)
        yield Probe(caller, journal, lanes)


async def settle(
    path: Path, *servers: ChatProvider, names: Sequence[str] = "01", **flags: Any
) -> dict[str, str]:
    settings = build_settings({"dataset": Path("rows.jsonl"), "model": "sim-merge"} | flags)
    failure: StoppedError | None = None
    async with probing(path, servers, names) as probe:
        try:
            return await probe.settle(settings, Requests(settings, find_prompts(settings)))
        except StoppedError as error:  # raised below: a task group would wrap it
            failure = error
    raise failure


async def settle_with(path: Path, *servers: SimulatorSettings, **flags: Any) -> dict[str, str]:
    """What is found with servers of this kind."""
    if not servers:
        return {}
    first, *others = servers
    async with Simulator(first) as server, HttpChat(server.url, None) as chat:
        if not others:
            return await settle(path, chat, **flags)
        async with Simulator(others[0]) as second, HttpChat(second.url, None) as other:
            return await settle(path, chat, other, **flags)


def results(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as journal:
        return [word for (word,) in journal.execute("SELECT result FROM calls ORDER BY id")]


@pytest.mark.parametrize(
    ("takes", "form", "calls"),
    [
        ("json_schema", "json_schema", ["honoured"]),
        ("json_object", "json_object", ["bad_request", "honoured", "honoured"]),
        ("none", "text", ["bad_request", "honoured", "bad_request"]),
        ("ignored", "text", ["ignored", "ignored"]),
    ],
)
async def test_the_strictest_form_that_a_server_honours_is_used(path, takes, form, calls):
    assert await settle_with(path, SimulatorSettings(structured=takes)) == {"form": form}
    assert results(path) == calls


async def test_a_server_that_fails_on_every_payload_with_a_form_is_stepped_down_from(path):
    assert await settle_with(path, SimulatorSettings(structured="broken")) == {"form": "text"}
    assert results(path) == 2 * [*["server"] * 4, "honoured", "server", "honoured"]


async def test_an_outage_at_the_start_says_nothing_about_forms(path, monkeypatch):
    monkeypatch.setattr("mergeit_async.engine.faults.FIRST_DELAY_S", 0.01)
    row = orjson.dumps({"instruction": "Ask.", "input": "", "output": "Told."}).decode()
    server = Script([fault(FaultKind.SERVER)] * 7, last=ChatReply(row, "stop", 5, 5))
    assert await settle(path, server) == {"form": "json_schema"}


@pytest.mark.parametrize("kind", [FaultKind.SERVER, FaultKind.MALFORMED, FaultKind.BAD_REQUEST])
async def test_a_server_that_fails_with_and_without_a_form_stops_the_run(path, kind, monkeypatch):
    monkeypatch.setattr("mergeit_async.engine.faults.FIRST_DELAY_S", 0.01)
    with pytest.raises(StoppedError, match="does not take the work"):
        await settle(path, Script(last=fault(kind)))


async def test_a_judge_that_does_not_exist_stops_the_run_before_the_first_merge(path):
    server = SimulatorSettings(faults={"model_not_found": 1.0})
    flags = {"judge": "no-such-judge", "structured_output": "text"}
    with pytest.raises(StoppedError, match="no-such-judge"):
        await settle_with(path, server, **flags)


async def test_what_another_server_made_of_a_form_is_not_taken_for_this_one(path):
    async with Simulator(SimulatorSettings()) as first, HttpChat(first.url, None) as chat:
        assert await settle(path, chat, names=["http://first"]) == {"form": "json_schema"}
    taking_none = SimulatorSettings(structured="none")
    async with Simulator(taking_none) as second, HttpChat(second.url, None) as chat:
        assert await settle(path, chat, names=["http://second"]) == {"form": "text"}


async def test_several_servers_are_asked_in_a_form_that_all_of_them_take(path):
    servers = SimulatorSettings(structured="json_schema"), SimulatorSettings(structured="none")
    assert await settle_with(path, *servers) == {"form": "text"}


async def test_a_form_that_the_user_names_is_not_probed(path):
    assert await settle(path, Script(), structured_output="json_object") == {"form": "json_object"}
    assert results(path) == []


async def test_a_probe_that_was_answered_is_not_sent_again(path):
    first = await settle_with(path, SimulatorSettings(structured="ignored"))
    assert await settle(path, Script()) == first
    assert len(results(path)) == 2


@pytest.mark.parametrize(
    ("offers", "found"),
    [("offered", "logprobs"), ("refused", "samples"), ("ignored", "samples")],
)
async def test_scores_come_by_probabilities_where_the_judge_has_them(path, offers, found):
    settings = SimulatorSettings(logprobs=offers)
    forms = await settle_with(path, settings, judge="sim-judge", structured_output="text")
    assert forms == {"form": "text", "scores": found}


@pytest.mark.parametrize(
    "fault_rates",
    [
        {"unauthorized": 1.0},
        {"model_not_found": 1.0},
        {"bad_request": 1.0},
        {"context_length": 1.0},
    ],
    ids=str,
)
async def test_a_server_that_refuses_all_work_says_nothing_about_forms(path, fault_rates):
    servers = SimulatorSettings(faults=fault_rates), SimulatorSettings()
    assert await settle_with(path, *servers) == {"form": "json_schema"}


@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.CONNECTION])
async def test_a_server_that_is_not_there_says_nothing_about_forms(path, kind, monkeypatch):
    monkeypatch.setattr("mergeit_async.engine.faults.FIRST_DELAY_S", 0.01)
    with pytest.raises(StoppedError, match="does not take the work"):
        await settle(path, Script(last=fault(kind)))


async def test_a_refused_key_stops_the_run_at_once(path):
    server = Script(last=fault(FaultKind.AUTH))
    with pytest.raises(StoppedError, match="check the key"):
        await settle(path, server)
    assert len(server.sent) == 1
