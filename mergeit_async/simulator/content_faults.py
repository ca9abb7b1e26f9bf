"""Merges said badly: wrapped, cut short, refused, or not merges at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mergeit_async.simulator.completions import Utterance, as_json
from mergeit_async.simulator.flaws import FLAWS
from mergeit_async.simulator.weaving import Draft


@dataclass(frozen=True, slots=True)
class ContentFault:
    """One kind of bad text: how it says a good draft, and its weight in the default mix."""

    say: Callable[[Draft], Utterance]
    share: float = 1.0


def say_row(draft: Draft, row: Mapping[str, object] | None = None) -> Utterance:
    """The merge of a draft, or another `row`, as JSON, as it should be said."""
    return Utterance(_text_of(draft, row))


def _say_fenced(draft: Draft) -> Utterance:
    return Utterance(f"```json\n{_text_of(draft)}\n```")


def _say_with_prose(draft: Draft) -> Utterance:
    return Utterance(f"Here is the merged row:\n\n{_text_of(draft)}\n\nI hope it is what you need.")


def _say_empty_output(draft: Draft) -> Utterance:
    return say_row(draft, draft.merged | {"output": ""})


def _say_wrong_types(draft: Draft) -> Utterance:
    inputs = [source["input"] for source in draft.sources]
    return say_row(draft, draft.merged | {"input": inputs})


def _say_copy(draft: Draft) -> Utterance:
    return say_row(draft, draft.sources[0])


def _say_leakage(draft: Draft) -> Utterance:
    tasks = " ".join(
        f"Example {number}: {source['instruction']}"
        for number, source in enumerate(draft.sources, start=1)
    )
    return say_row(draft, draft.merged | {"instruction": tasks})


def _say_no_json(draft: Draft) -> Utterance:
    return Utterance(f"The merged task reads as follows. {draft.merged['instruction']}")


def _say_cut(draft: Draft) -> Utterance:
    text = _text_of(draft)
    return Utterance(text[: len(text) * 2 // 3], finish_reason="length")


def _refuse(draft: Draft) -> Utterance:
    return Utterance("", refusal="I'm sorry, but I can't help with this request.")


def _apologise(draft: Draft) -> Utterance:
    return Utterance("I'm sorry, but as a simulated model I cannot merge these rows.")


def _withhold(draft: Draft) -> Utterance:
    text = _text_of(draft)
    return Utterance(text[: len(text) // 3], finish_reason="content_filter")


def _text_of(draft: Draft, row: Mapping[str, object] | None = None) -> str:
    return as_json({**draft.notes, **(draft.merged if row is None else row)}).decode()


# Every fault of form: its kind, how a good draft is said badly, and its weight in the mix of
# `content_fault_rate`. `fenced` and `prose` hold a good merge; a reader should find it.
CONTENT_FAULTS: Mapping[str, ContentFault] = {
    "fenced": ContentFault(_say_fenced),
    "prose": ContentFault(_say_with_prose),
    "empty_output": ContentFault(_say_empty_output),
    "wrong_types": ContentFault(_say_wrong_types),
    "copy": ContentFault(_say_copy),
    "leakage": ContentFault(_say_leakage),
    "not_json": ContentFault(_say_no_json),
    "cut": ContentFault(_say_cut),
    "refusal": ContentFault(_refuse),
    "apology": ContentFault(_apologise),
    "content_filter": ContentFault(_withhold, share=0),
}
# The weights of all kinds; flaws come by name or by their own rate.
SHARES: Mapping[str, float] = {
    **{kind: fault.share for kind, fault in CONTENT_FAULTS.items()},
    **dict.fromkeys(FLAWS, 0.0),
}
