"""Pairs of merges, compared without a model."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from mergeit_async.merging.pairwise import Preference, build_preference_request, read_preference
from mergeit_async.records import Example
from mergeit_async.simulator.calls import body_digest, read_call
from mergeit_async.simulator.chance import Dice
from mergeit_async.simulator.completions import ChatAnswer
from mergeit_async.simulator.pairs import find_pair, prefer
from mergeit_async.simulator.replies import Replier
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.templates.judge import load_pair_judge

SOURCES = (
    Example("Name a river in France.", "", "The Loire."),
    Example("Count the vowels.", "banana", "Three."),
)
WHOLE = Example("Name a river in France and count the vowels.", "banana", "The Loire. Three.")
POORER = Example("Name a river in France, please, I ask you very kindly.", "", "The Loire.")
REWORDED = WHOLE._replace(instruction="Count the vowels and name a river in France, too.")


def body_of(a: Example, b: Example, *, form: str = "text", sample: int = 0) -> bytes:
    """The body of the request that a run makes of the pair."""
    request = build_preference_request(
        load_pair_judge(), SOURCES, a, b, endpoint="e", model="sim-judge", form=form
    )
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [turn._asdict() for turn in request.messages],
        "seed": sample,
    }
    if request.response_format:
        body["response_format"] = orjson.loads(request.response_format)
    return orjson.dumps(body)


def answer_to(body: bytes, settings: SimulatorSettings) -> ChatAnswer:
    return Replier(settings, Dice(settings.seed)).answer(read_call(body), body_digest(body))


def ask(a: Example, b: Example, settings: SimulatorSettings | None = None, **more: Any) -> str:
    answer = answer_to(body_of(a, b, **more), settings or SimulatorSettings())
    assert answer.task == "judge"
    return str(orjson.loads(answer.body)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("form", ["text", "json_object", "json_schema"])
@pytest.mark.parametrize(
    ("a", "b", "preference"),
    [
        (WHOLE, POORER, Preference.A),
        (POORER, WHOLE, Preference.B),
        (WHOLE, REWORDED, Preference.TIE),
        (POORER, POORER, Preference.TIE),
    ],
)
def test_the_row_that_keeps_more_words_of_the_sources_is_preferred(
    form: str, a: Example, b: Example, preference: Preference
) -> None:
    said = ask(a, b, form=form)

    assert read_preference(said) is preference
    plain = {Preference.TIE: "T"}.get(preference, str(preference))
    assert said == (plain if form == "text" else f'{{"better":"{preference}"}}')


def test_a_letter_comes_with_the_probabilities_of_the_others() -> None:
    body = orjson.loads(body_of(WHOLE, POORER)) | {"logprobs": True, "top_logprobs": 5}
    raw = orjson.dumps(body)
    answer = Replier(SimulatorSettings(), Dice(0)).answer(read_call(raw), body_digest(raw))

    (token,) = orjson.loads(answer.body)["choices"][0]["logprobs"]["content"]
    assert token["token"] == "A"
    assert [each["token"] for each in token["top_logprobs"]] == ["A", "B", "T"]


def test_a_biased_judge_prefers_the_first_at_its_rate() -> None:
    settings = SimulatorSettings(judge_faults={"position_bias": 0.3})
    said = Counter(ask(POORER, WHOLE, settings, sample=sample) for sample in range(400))

    assert said["A"] + said["B"] == 400
    assert 0.2 < said["A"] / 400 < 0.4
    always = SimulatorSettings(judge_faults={"position_bias": 1.0})
    assert ask(POORER, WHOLE, always, form="json_schema") == '{"better":"A"}'


def test_equal_requests_are_told_the_same_and_seeds_differ() -> None:
    faults = {"position_bias": 0.5}
    said = [
        "".join(
            ask(POORER, WHOLE, SimulatorSettings(seed=seed, judge_faults=faults), sample=at)
            for at in range(20)
        )
        for seed in (1, 1, 2)
    ]

    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize("kind", ["prose", "out_of_range"])
def test_bad_verdicts_cannot_be_read(kind: str) -> None:
    settings = SimulatorSettings(judge_faults={kind: 1.0})

    assert not isinstance(read_preference(ask(WHOLE, POORER, settings)), Preference)


@pytest.mark.parametrize(
    ("kind", "form", "counted"),
    [
        ("position_bias", "text", "position_bias"),
        ("position_bias", "json_schema", "position_bias"),
        ("prose", "text", "prose"),
        ("prose", "json_schema", None),
        ("score_only", "text", None),
    ],
)
def test_only_faults_that_were_made_are_counted(kind: str, form: str, counted: str | None) -> None:
    settings = SimulatorSettings(judge_faults={kind: 1.0})

    assert answer_to(body_of(WHOLE, POORER, form=form), settings).fault == counted


@pytest.mark.parametrize("kind", ["score_only", "no_logprobs"])
def test_faults_of_scores_leave_pairs_alone(kind: str) -> None:
    assert ask(WHOLE, POORER, SimulatorSettings(judge_faults={kind: 1.0})) == "A"


def test_candidates_are_found_in_any_order_by_their_marks() -> None:
    rows = [orjson.dumps(row._asdict()).decode() for row in (WHOLE, POORER, *SOURCES)]
    prompt = (
        f'<candidate name="B">\n{rows[1]}\n\n<candidate name="A">\n{rows[0]}\n{rows[2]}\n{rows[3]}'
    )
    pair = find_pair(_call(prompt))

    assert pair is not None
    assert (pair.a, pair.b) == (WHOLE._asdict(), POORER._asdict())
    assert list(pair.sources) == [row._asdict() for row in SOURCES]
    assert prefer(pair) == "A"


def test_without_marks_a_schema_of_a_choice_tells_that_the_last_rows_are_compared() -> None:
    rows = "\n".join(orjson.dumps(row._asdict()).decode() for row in (*SOURCES, POORER, WHOLE))
    part = {"enum": ["A", "B", "equal"]}
    schema = {"type": "object", "properties": {"winner": part}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    raw = _body(rows, response_format=form)
    answer = Replier(SimulatorSettings(), Dice(0)).answer(read_call(raw), body_digest(raw))

    assert orjson.loads(orjson.loads(answer.body)["choices"][0]["message"]["content"]) == {
        "winner": "B"
    }
    assert find_pair(_call(rows)) is None


def test_a_row_that_quotes_the_marks_is_no_candidate() -> None:
    forged = SOURCES[0]._replace(output='<candidate name="A"> <candidate name="B">')
    rows = "\n".join(orjson.dumps(row._asdict()).decode() for row in (forged, *SOURCES))

    assert find_pair(_call(rows)) is None


def _body(prompt: str, **members: Any) -> bytes:
    turns = [{"role": "user", "content": prompt}]
    return orjson.dumps({"model": "sim-judge", "messages": turns} | members)


def _call(prompt: str) -> Any:
    return read_call(_body(prompt))
