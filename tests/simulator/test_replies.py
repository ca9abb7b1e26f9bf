from __future__ import annotations

import json
from collections import Counter
from typing import Any

import orjson
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.simulator.calls import body_digest, read_call
from mergeit_async.simulator.chance import Dice
from mergeit_async.simulator.replies import CONTENT_FAULTS, ChatAnswer, Replier
from mergeit_async.simulator.settings import SimulatorSettings

ROWS = (
    {"instruction": "Name a river in France.", "input": "", "output": "The Loire."},
    {"instruction": "Count the vowels.", "input": "banana", "output": "Three."},
)
PROMPT = "Merge these:\n" + "\n".join(map(json.dumps, ROWS))


def make_body(prompt: str = PROMPT, **members: Any) -> bytes:
    turns = [{"role": "user", "content": prompt}]
    return orjson.dumps({"model": "sim-merge", "messages": turns, **members})


def answer(body: bytes, settings: SimulatorSettings | None = None) -> ChatAnswer:
    settings = settings or SimulatorSettings()
    replier = Replier(settings, Dice(settings.seed))
    return replier.answer(read_call(body), body_digest(body))


def choice(answered: ChatAnswer) -> Any:
    return orjson.loads(answered.body)["choices"][0]


def spoiled(kind: str) -> Any:
    return choice(answer(make_body(), SimulatorSettings(content_faults={kind: 1.0})))


def test_a_merge_is_one_json_object_of_three_texts_with_all_that_the_rows_say() -> None:
    merged = orjson.loads(choice(answer(make_body()))["message"]["content"])

    assert list(merged) == ["instruction", "input", "output"]
    assert all(row["instruction"] in merged["instruction"] for row in ROWS)
    assert "banana" in merged["input"]
    assert all(row["output"] in merged["output"] for row in ROWS)


def test_equal_bodies_get_equal_bytes() -> None:
    settings = SimulatorSettings(content_fault_rate=0.5)

    assert answer(make_body(), settings).body == answer(make_body(), settings).body


@pytest.mark.parametrize("changed", ["server seed", "request seed"])
def test_either_seed_changes_what_is_said(changed: str) -> None:
    said = set()
    for seed in range(20):
        ours, theirs = (seed, 0) if changed == "server seed" else (0, seed)
        settings = SimulatorSettings(seed=ours, content_fault_rate=0.5)
        said.add(choice(answer(make_body(seed=theirs), settings))["message"]["content"])

    assert len(said) > 5


def test_usage_is_what_was_counted() -> None:
    answered = answer(make_body())
    usage = orjson.loads(answered.body)["usage"]

    assert usage["prompt_tokens"] == answered.prompt_tokens == -(-len(PROMPT) // 4)
    assert usage["completion_tokens"] == answered.completion_tokens > 0
    assert usage["total_tokens"] == answered.prompt_tokens + answered.completion_tokens


def test_the_output_ends_at_the_limit_that_the_request_sets() -> None:
    answered = answer(make_body(max_tokens=10))

    assert choice(answered)["finish_reason"] == "length"
    assert len(choice(answered)["message"]["content"]) == 40
    assert answered.completion_tokens == 10


def test_a_row_with_half_a_surrogate_pair_is_merged_too() -> None:
    prompt = PROMPT.replace("banana", "banana \\ud83d")

    content = choice(answer(make_body(prompt)))["message"]["content"]

    assert "banana \ud83d" in json.loads(content)["input"]


def test_half_a_surrogate_pair_outside_json_is_said_too() -> None:
    body = make_body(PROMPT.replace("Name a", "Name a \\ud83d"))

    said = answer(body, SimulatorSettings(content_faults={"not_json": 1.0}))

    assert "Name a \ud83d" in json.loads(said.body)["choices"][0]["message"]["content"]


def test_a_prompt_without_rows_gets_an_answer_in_words() -> None:
    text = choice(answer(make_body("How are you?")))["message"]["content"]

    assert text.startswith("This is the simulated answer")


def test_a_prompt_without_rows_gets_json_where_it_asks_for_json() -> None:
    body = make_body("How are you?", response_format={"type": "json_object"})

    assert list(orjson.loads(choice(answer(body))["message"]["content"])) == [
        "instruction",
        "input",
        "output",
    ]


def test_content_faults_come_at_their_rate_in_all_kinds() -> None:
    settings = SimulatorSettings(content_fault_rate=0.4)
    kinds = Counter(answer(make_body(seed=seed), settings).fault for seed in range(1500))

    assert 0.36 < 1 - kinds[None] / 1500 < 0.44
    assert kinds.keys() - {None} == {kind for kind, fault in CONTENT_FAULTS.items() if fault.share}


@pytest.mark.parametrize("kind", ["fenced", "prose"])
def test_harmless_faults_wrap_the_good_merge(kind: str) -> None:
    good = choice(answer(make_body()))["message"]["content"]

    said = spoiled(kind)["message"]["content"]

    assert said != good
    assert good in said


def test_harmful_faults_are_what_they_are_called() -> None:
    def said(kind: str) -> Any:
        return spoiled(kind)["message"]["content"]

    assert orjson.loads(said("empty_output"))["output"] == ""
    assert orjson.loads(said("wrong_types"))["input"] == ["", "banana"]
    assert orjson.loads(said("copy")) == ROWS[0]
    assert orjson.loads(said("leakage"))["instruction"].startswith("Example 1: Name a river")
    assert "{" not in said("not_json")
    assert "sorry" in said("apology")


def test_a_cut_answer_says_so_and_is_no_json() -> None:
    cut = spoiled("cut")

    assert cut["finish_reason"] == "length"
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut["message"]["content"])


def test_a_filtered_answer_says_so_and_ends_early() -> None:
    withheld = spoiled("content_filter")

    assert withheld["finish_reason"] == "content_filter"
    assert len(withheld["message"]["content"]) < 200


def test_cached_tokens_are_reported_where_there_is_a_cache() -> None:
    call = read_call(make_body())
    replier = Replier(SimulatorSettings(), Dice(0))

    usages = [
        orjson.loads(replier.answer(call, b"d", cached).body)["usage"] for cached in (None, 0, 7)
    ]

    assert [usage.get("prompt_tokens_details") for usage in usages] == [
        None,
        {"cached_tokens": 0},
        {"cached_tokens": 7},
    ]


def test_a_refusal_has_no_content() -> None:
    message = spoiled("refusal")["message"]

    assert message["content"] is None
    assert message["refusal"]


def test_an_unknown_content_fault_is_refused() -> None:
    settings = SimulatorSettings(content_faults={"typo": 0.1})

    with pytest.raises(UsageError, match="'typo'"):
        Replier(settings, Dice(0))
