"""From a reply to an accepted merge or a reason."""

from __future__ import annotations

import pytest

from mergeit_async.merging.verdict import judge_reply
from mergeit_async.records import ChatReply, Example, Refusal, Row

SOURCES = (
    Row("a", "Translate into French.", "The cat sleeps.", "Le chat dort.", 0, 1),
    Row("b", "Find the verb.", "Birds sing.", "sing", 1, 2),
)
JSON = (
    '{"instruction": "Translate the first and find the verb of the second sentence.",'
    ' "input": "The cat sleeps. Birds sing.", "output": "Le chat dort. The verb is sing."}'
)


def _reason(text: str, finish_reason: str = "stop") -> str:
    judged = judge_reply(ChatReply(text, finish_reason), SOURCES)
    assert isinstance(judged, Refusal)
    return judged.reason


def test_a_sound_reply_becomes_a_row() -> None:
    judged = judge_reply(ChatReply(JSON, "stop"), SOURCES)

    assert judged == Example(
        "Translate the first and find the verb of the second sentence.",
        "The cat sleeps. Birds sing.",
        "Le chat dort. The verb is sing.",
    )


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "truncated"), ("content_filter", "content_filter"), ("refusal", "model_refused")],
)
def test_a_reply_that_did_not_end_is_refused_even_if_it_parses(
    finish_reason: str, reason: str
) -> None:
    assert _reason(JSON, finish_reason) == reason


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m really sorry, I cannot do this.",
        "Sorry, no.",
        "I cannot merge these rows.",
        "As an AI language model, I do not merge.",
        "Unfortunately, these rows are harmful.",
        "My apologies, but no.",
        "**I won't** do that.",
    ],
)
def test_a_polite_refusal_is_told_from_a_malformed_reply(text: str) -> None:
    assert _reason(text) == "model_refused"


@pytest.mark.parametrize("text", ["", "Sure, here it is!", "Instruction: Translate."])
def test_prose_without_json_is_a_malformed_reply(text: str) -> None:
    assert _reason(text) == "no_json"


def test_an_apology_before_the_object_does_not_matter() -> None:
    judged = judge_reply(ChatReply(f"Sorry for the wait. {JSON}", "stop"), SOURCES)

    assert isinstance(judged, Example)


def test_a_reply_that_parses_still_has_to_pass_the_gate() -> None:
    assert _reason('{"instruction": "Find the verb.", "output": "SING"}') == "copy_of_source"
