from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.budget import Budget
from mergeit_async.engine.caller import Caller
from mergeit_async.engine.journal import Journal, open_journal
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.mergers import ChatMerger, ComposeMerger
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.prompts import Prompts, find_prompts
from mergeit_async.engine.referee import Referee
from mergeit_async.engine.requests import LOGPROBS, Requests
from mergeit_async.errors import FaultKind, ProviderError, StoppedError
from mergeit_async.merging.compose import compose
from mergeit_async.merging.information import Information, SourceInformation
from mergeit_async.merging.verdict import Gate, Inspection
from mergeit_async.providers.chat import ChatProvider
from mergeit_async.providers.http import HttpChat
from mergeit_async.records import ChatReply, ChatRequest, Example, Group, Outcome, Row, Status
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.templates.version import load_prompt
from tests.calling import lane

SETTINGS = build_settings({"dataset": Path("rows.jsonl"), "model": "sim-merge"})
REQUESTS = Requests(SETTINGS, find_prompts(SETTINGS))
REDRAWS = Requests(SETTINGS, Prompts(load_prompt("merge/v1")))

ROWS = (
    Row("a", "Name a river in France.", "", "The Loire.", 0, 1),
    Row("b", "Name a river in Spain.", "", "The Ebro.", 1, 2),
)
PLANNED = PlannedGroup(5, 0, (0, 1), 0.9)
GROUP = Group(5, 0, "group", ROWS, 0.9)

GOOD = ChatReply(
    orjson.dumps(
        {
            "instruction": "Name a river in France and one in Spain.",
            "input": "",
            "output": "The Loire flows through France, the Ebro through Spain.",
        }
    ).decode(),
    "stop",
)
NO_JSON = ChatReply("The merged task reads as follows.", "stop")
HALF = ChatReply(GOOD.text.replace("the Ebro", "another"), "stop")
NOTHING = ChatReply(HALF.text.replace("The Loire", "One"), "stop")
CUT = ChatReply('{"instruction": "Name', "length")


class Script:
    """A provider that goes through its replies and faults and keeps what was asked."""

    def __init__(self, *steps: ChatReply | ProviderError) -> None:
        self.steps = list(steps)
        self.requests: list[ChatRequest] = []
        self.on_send: Callable[[], None] = lambda: None

    async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
        self.requests.append(request)
        self.on_send()
        step = self.steps.pop(0)
        if isinstance(step, ProviderError):
            raise step
        return step

    async def check(self) -> None:
        pass


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxy settings of the machine away from the servers here."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


class Here:
    """Inspects in this process, by a gate that asks for each source's river."""

    async def inspect(self, reply: ChatReply | None, sources: tuple[Row, ...]) -> Inspection:
        gate = Gate(count_rivers, 0.9)
        return gate.inspect(reply, sources) if reply else gate.examine(compose(sources), sources)


def count_rivers(merged: Example, sources: Sequence[Row]) -> Information:
    """How many of the rivers that the sources answer with are in the merged output."""
    found = []
    for number, row in enumerate(sources, start=1):
        river = row.output.removeprefix("The ").removesuffix(".")
        is_kept = river in merged.output
        missing = () if is_kept else (f"source {number}, output: {river}",)
        found.append(SourceInformation(float(is_kept), 0.5, {}, missing, "information_lost"))
    return Information(sum(each.score for each in found) / len(found), tuple(found), "rivers_lost")


@asynccontextmanager
async def merging(
    path: Path,
    provider: ChatProvider,
    max_attempts: int = 3,
    requests: Requests = REQUESTS,
    *,
    is_judged: bool = False,
) -> AsyncIterator[ChatMerger]:
    """A merger that asks `provider` and journals at `path`."""
    async with open_journal(path) as journal:
        limiter = Limiter([lane(provider, max_in_flight=4)])
        caller = Caller(limiter, journal, Budget(), timeout_s=5.0, max_tries=1)
        referee = Referee(requests, caller, journal) if is_judged else None
        yield ChatMerger(lambda _: GROUP, requests, caller, journal, Here(), max_attempts, referee)


async def composed(journal: Journal, group: Group) -> Outcome:
    merger = ComposeMerger(lambda _: group, journal, Here())
    return await merger.merge(merger.draft(PLANNED))


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Run `sql` on the journal from outside."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql).fetchall()


async def test_a_good_reply_is_accepted_at_once(path):
    async with (
        Simulator() as server,
        HttpChat(server.url, None) as provider,
        merging(path, provider) as merger,
    ):
        outcome = await merger.merge(merger.draft(PLANNED))

    assert (outcome.position, outcome.group_id) == (5, "group")
    assert (outcome.status, outcome.attempts, outcome.reason) == (Status.MERGED, 1, None)
    assert "The Loire." in outcome.merged.output
    assert "The Ebro." in outcome.merged.output
    assert server.stats.arrivals == 1


async def test_the_originals_stay_after_the_last_attempt_and_each_was_another_request(path):
    async with (
        Simulator(SimulatorSettings(content_faults={"copy": 1.0})) as server,
        HttpChat(server.url, None) as provider,
        merging(path, provider, 4, REDRAWS) as merger,
    ):
        outcome = await merger.merge(merger.draft(PLANNED))

    assert (outcome.status, outcome.merged) == (Status.KEPT, None)
    assert (outcome.attempts, outcome.reason) == (4, "copy_of_source")
    assert server.stats.snapshot()["distinct_requests"] == server.stats.arrivals == 4
    assert ask(path, "SELECT sample, result FROM calls ORDER BY id") == [
        (sample, "copy_of_source") for sample in range(4)
    ]


async def test_a_refused_reply_draws_the_next_sample_until_one_is_good(path):
    script = Script(NO_JSON, CUT, GOOD)
    async with merging(path, script, requests=REDRAWS) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.attempts) == (Status.MERGED, 3)
    assert [request.sample for request in script.requests] == [0, 1, 2]
    assert len({request.key for request in script.requests}) == 3
    assert len({request.messages for request in script.requests}) == 1


async def test_the_reason_that_stays_is_that_of_the_best_attempt(path):
    async with merging(path, Script(NO_JSON, HALF, CUT)) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.reason, outcome.attempts) == ("rivers_lost", 3)
    assert outcome.scores["information"] == 0.5


async def test_a_merge_that_lost_something_is_mended_by_saying_what(path):
    script = Script(HALF, GOOD)
    async with merging(path, script) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.attempts) == (Status.MERGED, 2)
    assert outcome.scores["information"] == 1.0
    first, second = script.requests
    *before, attempt, asked = second.messages
    assert tuple(before) == first.messages
    assert (attempt.role, attempt.content) == ("assistant", HALF.text)
    assert (asked.role, "source 2, output: Ebro" in asked.content) == ("user", True)
    ((result, detail, scores),) = ask(path, "SELECT result, detail, scores FROM calls LIMIT 1")
    assert (result, "Ebro" in detail) == ("rivers_lost", True)
    assert orjson.loads(scores)["sources"][1]["missing"] == ["source 2, output: Ebro"]


async def test_the_best_attempt_is_mended_and_not_the_last(path):
    script = Script(HALF, NOTHING, GOOD)
    async with merging(path, script) as merger:
        await merger.merge(merger.draft(PLANNED))
    assert [request.messages[-2].content for request in script.requests[1:]] == [HALF.text] * 2
    assert len({request.key for request in script.requests}) == 3


async def test_a_reply_off_the_schema_is_asked_again_with_the_error_named(path):
    script = Script(NO_JSON, GOOD)
    async with merging(path, script) as merger:
        await merger.merge(merger.draft(PLANNED))
    assert script.requests[1].messages[-2].content == NO_JSON.text
    assert "no JSON object" in script.requests[1].messages[-1].content


async def test_a_reply_that_was_cut_off_is_drawn_anew(path):
    script = Script(CUT, GOOD)
    async with merging(path, script) as merger:
        await merger.merge(merger.draft(PLANNED))
    assert script.requests[1].messages == script.requests[0].messages


@pytest.mark.parametrize(
    "kind", [FaultKind.CONTEXT_LENGTH, FaultKind.CONTENT_FILTER, FaultKind.TOO_LARGE]
)
async def test_a_repair_that_cannot_be_sent_is_a_new_draw_instead(path, kind):
    script = Script(HALF, ProviderError(kind, "too long"), GOOD)
    async with merging(path, script) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.attempts) == (Status.MERGED, 2)
    first, _, third = script.requests
    assert third.messages == first.messages
    assert third.sample == 1


async def test_a_merge_that_cannot_be_sent_ends_the_group(path):
    script = Script(ProviderError(FaultKind.CONTEXT_LENGTH, "too long"))
    async with merging(path, script) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.reason) == (Status.KEPT, "context_length")


async def test_repairs_that_were_paid_for_are_found_again(path):
    async with merging(path, Script(HALF, HALF, GOOD)) as merger:
        first = await merger.merge(merger.draft(PLANNED))
    ask(path, "DELETE FROM outcomes")
    async with merging(path, Script()) as merger:
        assert await merger.merge(merger.draft(PLANNED)) == first


# The judge.


def scores(quality: int, complexity: int) -> ChatReply:
    return ChatReply(f"quality: {quality}\ncomplexity: {complexity}", "stop")


PROSE = ChatReply("What a fine row.", "stop")
JUDGED = SETTINGS.model_copy(update={"judge": "sim-judge"})
BY_TOKENS, BY_SAMPLES = (Requests(JUDGED, find_prompts(JUDGED)) for _ in range(2))
BY_TOKENS.settle("text", LOGPROBS)


async def test_a_merge_that_beats_the_mean_of_its_sources_is_accepted(path):
    script = Script(GOOD, scores(4, 4), scores(5, 2), scores(3, 3))
    async with merging(path, script, requests=BY_TOKENS, is_judged=True) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.attempts) == (Status.MERGED, 1)
    assert outcome.scores["judge"] == {
        "merged": {"quality": 4, "complexity": 4},
        "sources": [{"quality": 5, "complexity": 2}, {"quality": 3, "complexity": 3}],
    }
    assert [request.model for request in script.requests] == ["sim-merge"] + ["sim-judge"] * 3
    assert ask(path, "SELECT result FROM calls ORDER BY id") == [
        ("passed",),
        *[("scored",)] * 3,
    ]


async def test_one_that_does_not_is_drawn_anew_and_in_the_end_the_originals_stay(path):
    better = ChatReply(GOOD.text.replace("flows", "runs"), "stop")
    script = Script(GOOD, scores(2, 2), scores(5, 5), scores(5, 5), better, scores(3, 3))
    async with merging(path, script, 2, BY_TOKENS, is_judged=True) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.reason, outcome.attempts) == (Status.KEPT, "not_better", 2)
    assert outcome.detail == "scored 9.00, and its sources 25.00 on average", "of the best one"
    assert len(script.requests) == 6, "the sources are scored once"
    assert script.requests[4].messages == script.requests[0].messages


async def test_without_probabilities_a_score_is_the_mean_of_samples(path):
    rounds = [scores(q, 2) for q in (6, 5, 4)], [scores(2, 1)] * 3, [scores(2, 1)] * 3
    script = Script(GOOD, *rounds[0], *rounds[1], *rounds[2])
    async with merging(path, script, requests=BY_SAMPLES, is_judged=True) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert outcome.scores["judge"]["merged"] == {"quality": 5.0, "complexity": 2.0}
    assert [request.sample for request in script.requests[1:]] == [0, 1, 2] * 3


async def test_a_merge_that_is_drawn_a_second_time_is_not_scored_again(path):
    script = Script(GOOD, scores(2, 2), scores(5, 5), scores(5, 5), GOOD)
    async with merging(path, script, 2, BY_TOKENS, is_judged=True) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.reason, outcome.attempts) == (Status.KEPT, "not_better", 2)
    assert script.steps == [], "the one reply about it counts, in this session as after a kill"
    results = ask(path, "SELECT result, scores IS NOT NULL FROM calls ORDER BY id")
    assert results == [("passed", 1), *[("scored", 1)] * 3, ("passed", 1)]


async def test_a_judge_that_answers_prose_is_asked_again_and_then_the_originals_stay(path):
    script = Script(GOOD, PROSE, scores(5, 5), *[PROSE] * 3)
    async with merging(path, script, requests=BY_TOKENS, is_judged=True) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.reason) == (Status.KEPT, "judge_unreadable")
    assert outcome.scores["information"] == 1.0
    assert script.steps == []


async def test_a_judge_that_cannot_be_reached_makes_a_group_fail(path):
    script = Script(GOOD, ProviderError(FaultKind.TIMEOUT, "silence"))
    async with merging(path, script, requests=BY_TOKENS, is_judged=True) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.reason, outcome.attempts) == (Status.FAILED, "timeout", 1)


async def test_scores_that_were_paid_for_are_found_again(path):
    script = Script(GOOD, scores(4, 4), scores(5, 2), scores(3, 3))
    async with merging(path, script, requests=BY_TOKENS, is_judged=True) as merger:
        first = await merger.merge(merger.draft(PLANNED))
    ask(path, "DELETE FROM outcomes")
    async with merging(path, Script(), requests=BY_TOKENS, is_judged=True) as merger:
        assert await merger.merge(merger.draft(PLANNED)) == first


async def test_replies_that_were_paid_for_are_judged_without_a_call(path):
    async with merging(path, Script(NO_JSON, GOOD)) as merger:
        first = await merger.merge(merger.draft(PLANNED))
    ask(path, "DELETE FROM outcomes")

    async with merging(path, Script()) as merger:
        again = await merger.merge(merger.draft(PLANNED))

    assert again == first
    assert ask(path, "SELECT count(*) FROM calls") == [(2,)]
    assert ask(path, "SELECT position, attempts FROM outcomes") == [(5, 2)]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FaultKind.CONTEXT_LENGTH, Status.KEPT),
        (FaultKind.CONTENT_FILTER, Status.KEPT),
        (FaultKind.BAD_REQUEST, Status.FAILED),
        (FaultKind.TOO_LARGE, Status.FAILED),
        (FaultKind.TIMEOUT, Status.FAILED),
    ],
)
async def test_only_the_servers_verdict_on_the_payload_keeps_originals_for_good(path, kind, status):
    # Once for the repair, and once for the new draw that follows some of them.
    refused = [ProviderError(kind, "the server's words")] * 2
    async with merging(path, Script(NO_JSON, *refused)) as merger:
        outcome = await merger.merge(merger.draft(PLANNED))
    assert (outcome.status, outcome.reason) == (status, str(kind))
    assert outcome.detail == "the server's words"
    assert outcome.attempts == 1, "replies that were judged"
    assert ask(path, "SELECT status, reason FROM outcomes") == [(str(status), str(kind))]


async def test_a_drained_group_sends_no_further_sample(path):
    script = Script(NO_JSON, GOOD)
    async with merging(path, script, requests=REDRAWS) as merger:
        script.on_send = lambda: merger.stop(StoppedError("Enough."))
        with pytest.raises(StoppedError, match="Enough"):
            await merger.merge(merger.draft(PLANNED))
    assert len(script.requests) == 1
    assert ask(path, "SELECT text FROM replies") == [(NO_JSON.text,)]
    assert ask(path, "SELECT 1 FROM calls WHERE ended_at IS NULL") == []
    assert ask(path, "SELECT * FROM outcomes") == []


@pytest.mark.parametrize(("setting", "sent"), [(None, 0.25), (0.0, 0.0), (1.0, 1.0)])
def test_the_temperature_is_the_prompts_own_unless_one_is_set(setting, sent):
    settings = SETTINGS.model_copy(update={"temperature": setting})
    assert Requests(settings, find_prompts(settings)).merge(GROUP, 0).temperature == sent


def test_a_prompt_that_asks_for_notes_allows_longer_replies():
    of = {name: SETTINGS.model_copy(update={"prompt": name}) for name in ("merge/v1", "merge/v2")}
    plain, noted = (Requests(each, find_prompts(each)) for each in of.values())
    assert (plain.has_notes, noted.has_notes) == (False, True)
    assert noted.merge(GROUP, 0).max_tokens > plain.merge(GROUP, 0).max_tokens


async def test_a_group_is_composed_without_any_model(path):
    async with open_journal(path) as journal:
        outcome = await composed(journal, GROUP)
        assert journal.finished == {5}
    assert (outcome.status, outcome.attempts) == (Status.MERGED, 1)
    assert "The Loire." in outcome.merged.output


async def test_originals_stay_where_the_gate_refuses_their_composition(path):
    silent = tuple(Row(row.id, row.instruction, "", "", row.record, row.line) for row in ROWS)
    async with open_journal(path) as journal:
        outcome = await composed(journal, Group(5, 0, "group", silent, 0.9))
        assert journal.finished == {5}
    assert (outcome.status, outcome.reason) == (Status.KEPT, "empty_output")
