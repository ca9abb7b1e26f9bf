"""Arms on real groups, in process: what the simulator says of them, and what our gates make of it.

A pool holds so many draws for each of so many groups. The groups are pairs of near rows, as stage 1
makes them from the shared sample. A draw is a request of merge/v1 with its own sample number, the
simulator's reply to it, and what parser, gates and the simulated judge say of that reply: nothing
is drawn from a distribution made up for the occasion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mergeit_async.compare.metrics import (
    COST_PER_MERGE,
    INFORMATION,
    JUDGE_SCORE,
    LENGTH,
    PASSED,
    PREFERENCE,
    TOKENS,
    Paired,
    PairedRatio,
)
from mergeit_async.config import MIN_INFORMATION, build_settings
from mergeit_async.data.dataset import read_rows
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.prompts import Prompts
from mergeit_async.engine.requests import Requests
from mergeit_async.filtering.embedding import check_vectors
from mergeit_async.filtering.reduce import reduce_vectors
from mergeit_async.filtering.topic_plan import TopicSettings, plan_topic
from mergeit_async.filtering.topics import assign_topics, default_topic_count
from mergeit_async.ids import group_id
from mergeit_async.merging.information import measure_information
from mergeit_async.merging.judge import Scores, read_scores
from mergeit_async.merging.verdict import Gate
from mergeit_async.merging.weights import WordWeights
from mergeit_async.providers.completion import read_reply, write_request
from mergeit_async.providers.word_vectors import WordVectors
from mergeit_async.records import ChatReply, ChatRequest, Example, Group, Row
from mergeit_async.simulator.calls import BodyReader, ChatCall
from mergeit_async.simulator.chance import Dice
from mergeit_async.simulator.replies import Replier
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.templates.judge import load_judge
from mergeit_async.templates.version import load_prompt

# Dollars per million tokens, as gpt-4o-mini has them: any sheet will do, as both arms have it.
SHEET = PriceSheet(prompt=0.15, cached=0.075, completion=0.60, source="given")
# The judge says two digits for each accepted merge, one for each order of a pair.
N_OPINIONS = 2
NAMES = ("passed", "information", "first", "second", "length", "tokens", "cost")

Draws = Mapping[str, NDArray[np.float64]]
Picked = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Groups:
    """Real groups and how rare the words of their dataset are."""

    groups: Sequence[Group]
    weights: WordWeights


def find_groups(data: Path, n_groups: int, seed: int = 0) -> Groups:
    """`n_groups` pairs of near rows of `alpaca_17k.jsonl`, drawn from all that stage 1 makes."""
    rows = [row for row in read_rows(data / "alpaca_17k.jsonl") if isinstance(row, Row)]
    unique = np.array([at for at, row in enumerate(rows) if row.duplicate_of is None])
    name = "alpaca_17k.minilm.f16.npy"
    vectors = np.load(data / name)[[rows[at].record for at in unique]]
    vectors = check_vectors(vectors, len(unique), name)
    labels = assign_topics(reduce_vectors(vectors), default_topic_count(len(unique)), 0)
    pairs = []
    for topic in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == topic)
        for found in plan_topic(vectors[members], len(members), TopicSettings()).groups:
            pairs.append((topic, unique[members[list(found.members)]], found.similarity))
    chosen = np.random.default_rng(seed).choice(len(pairs), n_groups, replace=False)
    weights = WordWeights.count(f"{row.text} {row.output}" for row in rows)
    return Groups([_as_group(at, rows, *pairs[at]) for at in sorted(chosen)], weights)


def draw_pool(groups: Groups, settings: SimulatorSettings, n_draws: int, first: int = 0) -> Draws:
    """By name, (n_groups, n_draws) float64: what `n_draws` samples from `first` on come to."""
    arm = Arm(groups.weights, settings)
    pool = {name: np.full((len(groups.groups), n_draws), np.nan) for name in NAMES}
    for at, group in enumerate(groups.groups):
        for draw in range(n_draws):
            for name, value in arm.draw(group, first + draw).items():
                pool[name][at, draw] = value
    return pool


class Arm:
    """One prompt at one simulated server, with the gates and the judge that look at its merges."""

    def __init__(self, weights: WordWeights, settings: SimulatorSettings) -> None:
        run = {"dataset": Path("-"), "model": "sim-merge", "judge": "sim-judge"}
        prompts = Prompts(load_prompt("merge/v1"), judge=load_judge())
        self._requests = Requests(build_settings(run), prompts)
        self._replier = Replier(settings, Dice(settings.seed))
        self._reader = BodyReader()
        encoder = WordVectors()
        encoder.learn(weights.words)
        measure = partial(measure_information, weights=weights, encoder=encoder)
        shots = [turn.content for turn in prompts.merge.preamble if turn.role == "assistant"]
        self._gate = Gate(measure, MIN_INFORMATION, shots)

    def draw(self, group: Group, sample: int) -> dict[str, float]:
        """What one sample comes to; what a refused merge has no value in is left out."""
        reply = self._ask(self._requests.merge(group, sample))
        found = self._gate.inspect(reply, group.rows)
        tokens = float((reply.prompt_tokens or 0) + (reply.completion_tokens or 0))
        values = {"passed": 0.0, "tokens": tokens, "cost": SHEET.cost(reply) or 0.0}
        if found.information is not None:
            values["information"] = found.information
        if isinstance(found.result, Example):
            values |= {"passed": 1.0, "length": float(len(found.result.output))}
            for name, opinion in zip(("first", "second"), range(N_OPINIONS), strict=True):
                scores = read_scores(self._ask(self._requests.score(found.result, opinion)))
                assert isinstance(scores, Scores)
                values[name] = scores.product
        return values

    def _ask(self, request: ChatRequest) -> ChatReply:
        digest, call = self._reader.read(write_request(request, "max_tokens"))
        assert isinstance(call, ChatCall)
        reply = read_reply(self._replier.answer(call, digest).body)
        assert reply is not None
        return reply


def pick(pool: Draws, at: NDArray[np.int64], draws: NDArray[np.int64]) -> Picked:
    """By name, (n,): of the groups `at` the draws of these numbers."""
    return {name: values[at, draws] for name, values in pool.items()}


def pair_values(a: Picked, b: Picked) -> tuple[Paired | PairedRatio, ...]:
    """Both arms side by side in every metric that a pool has."""
    return (
        Paired(PASSED, a["passed"], b["passed"]),
        Paired(PREFERENCE, np.sign(b["first"] - a["first"]), np.sign(b["second"] - a["second"])),
        Paired(JUDGE_SCORE, _judge(a), _judge(b)),
        Paired(INFORMATION, a["information"], b["information"]),
        Paired(LENGTH, a["length"], b["length"]),
        Paired(TOKENS, a["tokens"], b["tokens"]),
        PairedRatio(COST_PER_MERGE, a["cost"], a["passed"], b["cost"], b["passed"]),
    )


def _judge(picked: Picked) -> NDArray[np.float64]:
    return (picked["first"] + picked["second"]) / N_OPINIONS


def _as_group(
    at: int, rows: Sequence[Row], topic: int, members: NDArray[np.int64], similarity: float
) -> Group:
    chosen = tuple(rows[member] for member in members)
    return Group(at, topic, group_id([row.id for row in chosen]), chosen, similarity)
