"""What a reply amounts to: an accepted merge, or the reason why it is none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mergeit_async.merging.gate import check_merge
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


def judge_reply(reply: ChatReply, sources: Sequence[Row]) -> Example | Refusal:
    """The merged row, once its reply ended properly, could be parsed and passed the gate."""
    if stopped := _STOPPED.get(reply.finish_reason):
        return stopped
    merged = parse_reply(reply.text)
    if isinstance(merged, Example):
        return check_merge(merged, sources) or merged
    if merged.reason == "no_json" and _DECLINES.match(reply.text):
        return Refusal("model_refused", f"the model declined to answer: {reply.text[:80]!r}")
    return merged
