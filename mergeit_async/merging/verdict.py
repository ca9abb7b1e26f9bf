"""What a reply amounts to: an accepted merge, or the reason why it is none, with its scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mergeit_async.merging.answer import telling_sentences
from mergeit_async.merging.gate import check_merge
from mergeit_async.merging.information import Information, SourceInformation, check_information
from mergeit_async.merging.parse import parse_reply
from mergeit_async.records import ChatReply, Example, Refusal, Row

# Reasons to stop that leave no usable reply, in the words of the chat-completions protocol.
_STOPPED = {
    "length": Refusal("truncated", "the reply was cut off at the limit of output tokens"),
    "content_filter": Refusal("content_filter", "the server's content filter cut the reply off"),
    "refusal": Refusal("model_refused", "the model declined to answer"),
}
_DECLINES = re.compile(
    r"""\W*(?:(?:i['’]m|i\ am|we['’]re|we\ are)\ (?:\w+\ )?(?:sorry|afraid|unable|not\ able)
    |(?:my\ )?(?:sincere\ )?apolog|sorry[,.\ ]|unfortunately
    |(?:i|we)\ (?:can['’]?t|can\ ?not|won['’]?t|will\ not|must\ decline|decline)
    |as\ an?\ ai\b)""",
    re.IGNORECASE | re.VERBOSE,
)
# Below every merge that could be read.
NO_MERGE = -1.0

# How much of each source a merged row keeps.
Measure = Callable[[Example, Sequence[Row]], Information]


class Inspection(NamedTuple):
    """A reply that was looked at.

    `result` is the accepted merge, or why there is none. `information` is the share that is kept
    of the source that lost most, 0 to 1; None where it was not measured. `scores` are JSON values
    for journal and lineage. `defects` are sentences for who is to mend the reply; none where it
    is no use to show it to the model again.
    """

    result: Example | Refusal
    information: float | None = None
    scores: Mapping[str, Any] | None = None
    defects: tuple[str, ...] = ()

    @property
    def rank(self) -> float:
        """How good an attempt is beside others of its group."""
        return NO_MERGE if self.information is None else self.information


class Gate:
    """Both gates: the structural one, and the one for information if there is a `measure`."""

    def __init__(
        self,
        measure: Measure | None = None,
        min_information: float = 0.0,
        few_shots: Iterable[str] = (),
    ) -> None:
        """`few_shots` are the replies that the model was shown as examples."""
        self._measure = measure
        self._least = min_information
        shown = (merged for text in few_shots if isinstance(merged := parse_reply(text), Example))
        self._shown = telling_sentences(text for merged in shown for text in merged)

    def inspect(self, reply: ChatReply, sources: Sequence[Row]) -> Inspection:
        """The merged row, once its reply ended properly, could be parsed and passed the gates."""
        if stopped := _STOPPED.get(reply.finish_reason):
            return Inspection(stopped)
        merged = parse_reply(reply.text)
        if isinstance(merged, Example):
            return self.examine(merged, sources)
        if merged.reason == "no_json" and _DECLINES.match(reply.text):
            declined = f"the model declined to answer: {reply.text[:80]!r}"
            return Inspection(Refusal("model_refused", declined))
        return Inspection(merged, defects=(merged.detail,))

    def examine(self, merged: Example, sources: Sequence[Row]) -> Inspection:
        """A merged row beside its sources."""
        refusal = check_merge(merged, sources, self._shown)
        defects: tuple[str, ...] = (refusal.detail,) if refusal else ()
        if self._measure is None:
            return Inspection(refusal or merged, defects=defects)
        information = self._measure(merged, sources)
        loss = check_information(information, self._least)
        if loss is not None:
            defects += loss.missing or (loss.detail,)
        return Inspection(
            refusal or loss or merged, information.score, describe(information), defects
        )


def describe(information: Information) -> dict[str, Any]:
    """The scores of a merge as JSON values, its sources in the order of the group."""
    return {
        "information": information.score,
        "sources": [describe_source(source) for source in information.sources],
    }


def describe_source(source: SourceInformation) -> dict[str, Any]:
    """The scores of one source as JSON values."""
    scores = {
        "information": source.score,
        "similarity": source.similarity,
        "kept": dict(source.fields),
    }
    return scores | {"missing": list(source.missing)} if source.missing else scores
