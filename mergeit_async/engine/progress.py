"""What a run is doing right now, for whoever displays it; nothing depends on it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from mergeit_async.engine.session import Session
from mergeit_async.records import Outcome, Status


@dataclass(slots=True)
class Progress:
    """Live counters of a run, written by the engine and read by a display.

    `stage` is reading, embedding, topics, merging, exporting, or of an A/B run judging; `done`
    of `total` count its rows (reading, embedding), topics (topics) or groups (judging).
    `groups` counts the groups planned so far, `resumed` those that had ended in an earlier
    session, `ended` those of this one by status. `session` tells what is in flight and spent
    while a model is asked. `notices` are sentences that a person should hear once; `stopping`
    is what the run stops for while it waits for calls in flight.
    """

    stage: str = "reading"
    done: int = 0
    total: int | None = None
    topics: int = 0
    topics_planned: int = 0
    groups: int = 0
    resumed: int = 0
    ended: Counter[Status] = field(default_factory=Counter)
    session: Session | None = None
    notices: list[str] = field(default_factory=list)
    stopping: Exception | None = None
    began_at: float = field(default_factory=time.monotonic)

    def enter(self, stage: str, total: int | None = None) -> None:
        """Begin a stage."""
        self.stage, self.done, self.total = stage, 0, total

    def stop(self, why: Exception) -> None:
        """Nothing more is sent, because of `why`."""
        self.stopping = why

    def count(self, outcome: Outcome) -> None:
        """A group has ended."""
        self.ended[outcome.status] += 1

    @property
    def is_planned(self) -> bool:
        """Whether the number of groups is final."""
        return self.topics > 0 and self.topics_planned == self.topics

    @property
    def finished_groups(self) -> int:
        """Groups that have ended, in this session or an earlier one."""
        return self.resumed + self.ended.total()

    @property
    def elapsed_s(self) -> float:
        """Seconds since this session began."""
        return time.monotonic() - self.began_at
