from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import orjson
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.simulator.calls import body_digest, read_call
from mergeit_async.simulator.chance import Dice
from mergeit_async.simulator.completions import ChatAnswer
from mergeit_async.simulator.content_faults import CONTENT_FAULTS
from mergeit_async.simulator.flaws import FLAWS
from mergeit_async.simulator.replies import Replier
from mergeit_async.simulator.settings import SimulatorSettings

ROWS = (
    {"instruction": "Name a river in France.", "input": "", "output": "The Loire."},
    {"instruction": "Count the vowels.", "input": "banana", "output": "Three."},
)
PROMPT = "Merge these:\n" + "\n".join(map(json.dumps, ROWS))


SCHEMA = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
OTHER_ROWS = (
    {"instruction": "Add 3 and 4.", "input": "", "output": "The sum is 7."},
    {"instruction": "Greet Paul in Danish.", "input": "", "output": "Hej Paul."},
)


def make_body(prompt: str = PROMPT, **members: Any) -> bytes:
    turns = [{"role": "user", "content": prompt}]
    return orjson.dumps({"model": "sim-merge", "messages": turns} | members)


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


FORMS = {
    "json_object": {"type": "json_object"},
    "json_schema": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_prompt_without_rows_gets_an_object_where_a_form_is_asked_for(form: str) -> None:
    body = make_body("How are you?", response_format=FORMS[form])
    said = orjson.loads(choice(answer(body))["message"]["content"])

    assert list(said) == (["mood"] if form == "json_schema" else ["instruction", "input", "output"])


@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_ignores_forms_answers_in_words(form: str) -> None:
    body = make_body("How are you?", response_format=FORMS[form])

    said = choice(answer(body, SimulatorSettings(structured="ignored")))["message"]["content"]
    assert said.startswith("This is the simulated answer")


def test_words_in_the_prompt_are_no_form() -> None:
    body = make_body("How are you? Reply in JSON, please.", response_format={"type": "text"})

    assert choice(answer(body))["message"]["content"].startswith("This is the simulated answer")


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


def test_flaws_come_at_their_rate_in_all_kinds_on_top_of_other_faults() -> None:
    settings = SimulatorSettings(flaw_rate=0.5, content_fault_rate=0.2)
    rows = [*ROWS, *OTHER_ROWS]
    bodies = [make_body("\n".join(map(json.dumps, rows)), seed=seed) for seed in range(1500)]
    kinds = Counter(answer(body, settings).fault for body in bodies)

    flaws = {kind: count for kind, count in kinds.items() if kind in FLAWS}
    assert flaws.keys() == FLAWS.keys()
    assert all(45 < count < 110 for count in flaws.values())
    assert 690 < sum(flaws.values()) < 810
    assert 0.65 < 1 - kinds[None] / 1500 < 0.75


@pytest.mark.parametrize("kind", FLAWS)
def test_a_flawed_merge_looks_like_a_good_one(kind: str) -> None:
    body = make_body("\n".join(map(json.dumps, [*ROWS, *OTHER_ROWS])))
    settings = SimulatorSettings(content_faults={kind: 1.0})
    first, again = answer(body, settings), answer(body, settings)

    merged = orjson.loads(choice(first)["message"]["content"])
    assert (first.fault, first.task) == (kind, "merge")
    assert first.body == again.body
    assert choice(first)["finish_reason"] == "stop"
    assert list(merged) == ["instruction", "input", "output"]
    assert merged != orjson.loads(choice(answer(body))["message"]["content"])


def test_rates_of_flaws_and_faults_may_not_pass_one_together() -> None:
    with pytest.raises(UsageError, match="must be 0 to 1"):
        Replier(SimulatorSettings(content_fault_rate=0.6, flaw_rate=0.6), Dice(0))


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def show(*rows: dict[str, str]) -> dict[str, str]:
    return turn("user", "\n".join(map(json.dumps, rows)))


MISSING = turn("user", 'Your reply lacks "banana"; {write} it again.')


def repair(*turns: dict[str, str], **members: Any) -> bytes:
    before = [turn("system", "Merge."), show(*OTHER_ROWS), turn("assistant", "{}")]
    return make_body(messages=[*before, *turns, MISSING], **members)


def said_to(body: bytes, **settings: Any) -> tuple[ChatAnswer, Any]:
    answered = answer(body, SimulatorSettings(**settings))
    return answered, orjson.loads(choice(answered)["message"]["content"])


def test_a_repair_merges_the_latest_rows_of_the_conversation() -> None:
    body = repair(show(*ROWS), turn("assistant", json.dumps(OTHER_ROWS)))
    answered, merged = said_to(body)

    assert (answered.task, answered.fault) == ("repair", None)
    assert all(row["output"] in merged["output"] for row in ROWS)
    assert not any(row["output"] in merged["output"] for row in OTHER_ROWS)
    assert answer(body).body == answered.body


def test_a_second_repair_goes_back_to_the_rows_too() -> None:
    attempt = turn("assistant", "{}")
    answered, merged = said_to(repair(show(*ROWS), attempt, MISSING, attempt, show(ROWS[1])))

    assert answered.task == "repair"
    assert all(row["output"] in merged["output"] for row in ROWS)


def test_rows_in_the_last_turn_are_merged_whatever_came_before() -> None:
    body = make_body(messages=[show(*OTHER_ROWS), turn("assistant", "{}"), show(*ROWS)])
    answered, merged = said_to(body)

    assert answered.task == "merge"
    assert all(row["output"] in merged["output"] for row in ROWS)


def test_no_fault_of_first_merges_touches_a_repair() -> None:
    body = repair(show(*ROWS), turn("assistant", "{}"))
    answered, merged = said_to(body, content_faults={"not_json": 0.5}, flaw_rate=0.5)

    assert answered.fault is None
    assert all(row["output"] in merged["output"] for row in ROWS)


def test_repairs_fail_at_their_rate_with_a_flaw() -> None:
    bodies = [repair(show(*ROWS, *OTHER_ROWS), MISSING, seed=seed) for seed in range(600)]
    answers = [said_to(body, repair_failure_rate=0.4)[0] for body in bodies]
    kinds = Counter(answered.fault for answered in answers)

    assert 0.33 < 1 - kinds[None] / 600 < 0.47
    assert kinds.keys() - {None} == FLAWS.keys()
    assert {answered.task for answered in answers} == {"repair"}


def test_every_repair_can_fail() -> None:
    body = repair(show(*ROWS), turn("assistant", "{}"))
    answered, merged = said_to(body, repair_failure_rate=1.0)

    assert answered.fault in FLAWS
    assert merged != said_to(body)[1]


def test_a_conversation_about_single_rows_is_no_repair() -> None:
    body = make_body(messages=[show(ROWS[0]), turn("assistant", "x"), MISSING])

    assert answer(body).task == "talk"


def score(row: dict[str, str] = ROWS[0], model: str = "sim-judge", **members: Any) -> bytes:
    before = [show(OTHER_ROWS[0]), turn("assistant", "quality: 3\ncomplexity: 2")]
    asked = turn("user", f"Score this row from 1 to 6:\n{json.dumps(row)}\nTwo lines, please.")
    return make_body(model=model, messages=[*before, asked], **members)


def test_a_judge_scores_the_row_of_the_last_turn() -> None:
    answered = answer(score())
    text = choice(answered)["message"]["content"]

    assert re.fullmatch("quality: [1-6]\ncomplexity: [1-6]", text)
    assert (answered.task, answered.completion_tokens) == ("judge", 9)
    assert "logprobs" not in choice(answered)


def test_other_models_score_nothing() -> None:
    assert answer(score(model="sim-merge")).task == "talk"
    assert answer(score(), SimulatorSettings(judge_models=("x",))).task == "talk"


def test_a_judge_merges_and_talks_like_any_model() -> None:
    assert answer(make_body(model="sim-judge")).task == "merge"
    assert answer(make_body("How are you?", model="sim-judge")).task == "talk"


def test_a_judge_that_has_to_give_an_object_gives_no_lines() -> None:
    form = FORMS["json_schema"]
    honoured = choice(answer(score(response_format=form)))["message"]["content"]
    ignored = answer(score(response_format=form), SimulatorSettings(structured="ignored"))

    assert list(orjson.loads(honoured)) == ["mood"]
    assert ignored.task == "judge"
    assert answer(score(response_format={"type": "text"})).task == "judge"


def test_a_judge_tells_probabilities_where_they_are_asked_for_and_offered() -> None:
    asked = score(logprobs=True, top_logprobs=5)
    content = choice(answer(asked))["logprobs"]["content"]

    assert "".join(one["token"] for one in content) == choice(answer(asked))["message"]["content"]
    assert [len(one["top_logprobs"]) for one in content] == [2, 2, 2, 5, 2, 2, 2, 2, 5]
    assert "logprobs" not in choice(answer(asked, SimulatorSettings(logprobs="ignored")))


def test_faults_of_judges_come_at_their_rates() -> None:
    settings = SimulatorSettings(judge_faults={"prose": 0.2, "score_only": 0.1})
    kinds = Counter(answer(score(seed=seed), settings).fault for seed in range(1000))

    assert kinds.keys() == {"prose", "score_only", None}
    assert 150 < kinds["prose"] < 250
    assert 70 < kinds["score_only"] < 130


def test_an_unknown_fault_of_judges_is_refused() -> None:
    with pytest.raises(UsageError, match="'mood'; choose among prose, out_of_range"):
        Replier(SimulatorSettings(judge_faults={"mood": 0.1}), Dice(0))


# Notes beside the merged row

NOTES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "asked": {"type": "string"},
            "data": {"type": "array", "items": {"type": "string"}},
            "facts": {"type": "array", "items": {"type": "string"}},
        },
    },
}
TEXT = {"type": "string"}
NOTED = {
    "type": "object",
    "properties": {"contents": NOTES, "instruction": TEXT, "input": TEXT, "output": TEXT},
}
CONTENTS = [
    {"asked": "Name a river in France.", "data": [], "facts": ["The Loire."]},
    {"asked": "Count the vowels.", "data": ["banana"], "facts": ["Three."]},
]


def with_schema(schema: Any = NOTED) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "row", "schema": schema}}


def with_example(reply: Any, prompt: str = PROMPT) -> bytes:
    shown = [
        {"role": "user", "content": "Merge."},
        {"role": "assistant", "content": reply if isinstance(reply, str) else json.dumps(reply)},
    ]
    turns = [*shown, {"role": "user", "content": prompt}]
    return orjson.dumps({"model": "sim-merge", "messages": turns})


EXAMPLE = {"contents": [{"asked": "x", "data": ["y"], "facts": ["z"]}], "instruction": "x"}


@pytest.mark.parametrize(
    "body",
    [make_body(response_format=with_schema()), with_example(EXAMPLE)],
    ids=["schema", "shot"],
)
def test_what_a_prompt_wants_beside_the_row_is_said_first(body: bytes) -> None:
    said = orjson.loads(choice(answer(body))["message"]["content"])

    assert list(said) == ["contents", "instruction", "input", "output"]
    assert said["contents"] == CONTENTS
    plain = orjson.loads(choice(answer(make_body()))["message"]["content"])
    assert {len(said[field]) > 0 for field in plain} == {True}


@pytest.mark.parametrize(
    "reply", ["Fine.", "[1]", {"instruction": "x", "input": "", "output": "y"}]
)
def test_without_such_a_wish_nothing_is_said_beside_the_row(reply: Any) -> None:
    said = orjson.loads(choice(answer(with_example(reply)))["message"]["content"])

    assert list(said) == ["instruction", "input", "output"]


def test_a_schema_that_is_ignored_adds_nothing() -> None:
    body = make_body(response_format=with_schema())
    said = choice(answer(body, SimulatorSettings(structured="ignored")))["message"]["content"]

    assert list(orjson.loads(said)) == ["instruction", "input", "output"]


def test_notes_of_other_kinds_are_of_their_kind() -> None:
    kinds = {"n": {"type": "integer"}, "sure": {"type": "boolean"}, "why": TEXT, "any": True}
    schema = {"type": "object", "properties": {**kinds, **NOTED["properties"]}}
    said = orjson.loads(
        choice(answer(make_body(response_format=with_schema(schema))))["message"]["content"]
    )

    assert (said["n"], said["sure"]) == (2, True)
    assert "banana" in said["why"]


def test_flawed_merges_have_notes_too() -> None:
    settings = SimulatorSettings(content_faults={"source_dropped": 1.0})
    said = choice(answer(make_body(response_format=with_schema()), settings))["message"]["content"]

    assert orjson.loads(said)["contents"] == CONTENTS
