"""From a reply to an accepted merge or a reason."""

from __future__ import annotations

import pytest

from mergeit_async.merging.information import Information, SourceInformation
from mergeit_async.merging.verdict import Gate
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
    judged = Gate().inspect(ChatReply(text, finish_reason), SOURCES).result
    assert isinstance(judged, Refusal)
    return judged.reason


def test_a_sound_reply_becomes_a_row() -> None:
    judged = Gate().inspect(ChatReply(JSON, "stop"), SOURCES).result

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
    judged = Gate().inspect(ChatReply(f"Sorry for the wait. {JSON}", "stop"), SOURCES).result

    assert isinstance(judged, Example)


def test_a_reply_that_parses_still_has_to_pass_the_gate() -> None:
    assert _reason('{"instruction": "Find the verb.", "output": "SING"}') == "copy_of_source"


# Both gates.


def keeping(score: float) -> Gate:
    """A gate over a measure that says that the second source kept so much."""

    def measure(merged: Example, sources: object) -> Information:
        lost = SourceInformation(score, 0.9, {"output": score}, ("source 2: sing",), "lost")
        whole = SourceInformation(1.0, 1.0, {"output": 1.0}, (), "")
        return Information(score, (whole, lost), "lost")

    return Gate(measure, 0.6)


def test_a_merge_that_keeps_enough_is_accepted_with_its_scores() -> None:
    found = keeping(0.7).inspect(ChatReply(JSON, "stop"), SOURCES)
    assert isinstance(found.result, Example)
    assert (found.information, found.defects) == (0.7, ())
    assert found.scores is not None
    assert [source["information"] for source in found.scores["sources"]] == [1.0, 0.7]


def test_a_merge_that_lost_too_much_is_refused_and_says_what_to_bring_back() -> None:
    found = keeping(0.5).inspect(ChatReply(JSON, "stop"), SOURCES)
    assert isinstance(found.result, Refusal)
    assert (found.result.reason, found.rank) == ("lost", 0.5)
    assert found.defects == ("source 2: sing",)


def test_the_defects_of_both_gates_are_named_at_once() -> None:
    copied = '{"instruction": "Find the verb.", "input": "", "output": "SING"}'
    found = keeping(0.5).inspect(ChatReply(copied, "stop"), SOURCES)
    assert isinstance(found.result, Refusal)
    assert found.result.reason == "copy_of_source"
    assert found.defects == ("the merged row repeats source row 2 alone", "source 2: sing")


def test_what_cannot_be_mended_has_no_defects_and_ranks_below_every_merge() -> None:
    cut = keeping(0.5).inspect(ChatReply(JSON, "length"), SOURCES)
    declined = keeping(0.5).inspect(ChatReply("I cannot merge these rows.", "stop"), SOURCES)
    assert cut.defects == declined.defects == ()
    assert cut.rank == declined.rank < keeping(0.0).inspect(ChatReply(JSON, "stop"), SOURCES).rank
