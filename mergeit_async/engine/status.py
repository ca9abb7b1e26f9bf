"""The state of a run as its directory tells it, also while another process works on it."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from dataclasses import dataclass, field

from mergeit_async.engine.portraits import TopicPortrait, read_portraits
from mergeit_async.engine.run_dir import LOCK, Record, RunDir
from mergeit_async.engine.tables import SPENT, connect_reader, readable

BY_STATUS = "SELECT status, count(*) FROM outcomes GROUP BY status"
BY_REASON = (
    "SELECT status || ': ' || reason, count(*) FROM outcomes WHERE reason IS NOT NULL"
    " GROUP BY 1 ORDER BY 2 DESC"
)
BY_RESULT = "SELECT coalesce(result, 'unknown'), count(*) FROM calls GROUP BY 1 ORDER BY 2 DESC"
TOKENS = (
    "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0),"
    " coalesce(sum(completion_tokens), 0) FROM replies"
)
# Those that the process at work has under way have no result yet.
OPEN_CALLS = (
    "SELECT id, position, request_key, reserved, result IS NULL FROM calls WHERE ended_at IS NULL"
    " ORDER BY id"
)
# What was answered, or may have been, and counts nothing.
UNPRICED = (
    "SELECT count(*) FROM calls WHERE coalesce(cost, reserved) = 0"
    " AND (http_status = 200 OR ended_at IS NULL)"
)


@dataclass(frozen=True, slots=True)
class UnknownCall:
    """A call whose intent has no outcome: it may have reached the server and been billed."""

    id: int
    position: int
    request_key: str
    reserved_usd: float


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run as it stands.

    `state` is running, finished or stopped (resumable). `groups` counts groups by outcome,
    `reasons` those not merged by reason. `calls` counts calls by what came of them: accepted, the
    reason a reply was refused, the kind of fault, not_sent, abandoned (the other copy of a hedged
    call came first), unjudged (its judge failed), or unknown (begun, and its end never written).
    Tokens are those the server reported; `cached_tokens` of the prompts were in its cache.

    `spent_usd` is None where no price is known. `reserved_usd` is set aside for the calls that a
    process has under way; where no process works on the run, a call whose end is unknown counts as
    spent with all that was reserved for it. `unknown_calls` lists the calls that a crash or a kill
    left open: at most so many were billed and will be billed again, for at most `unknown_usd`.
    `portraits` tell what the topics are about, once all are planned.
    """

    state: str
    model: str
    topics_planned: int
    groups: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    spent_usd: float | None = None
    reserved_usd: float = 0.0
    max_cost_usd: float | None = None
    unknown_calls: list[UnknownCall] = field(default_factory=list)
    portraits: list[TopicPortrait] = field(default_factory=list)

    @property
    def unknown_usd(self) -> float:
        """What the calls left open can have cost at most."""
        return sum(call.reserved_usd for call in self.unknown_calls)


def read_status(run: RunDir) -> RunStatus:
    """The status of `run`; raises `UsageError` where there is none."""
    record = run.read_record()
    model = record.settings.model
    state, topics = state_of(run), run.plan.count_topics()
    portraits = read_portraits(run.plan.portraits)
    # A file without content: the process ended while it made the journal.
    if not run.journal.exists() or run.journal.stat().st_size == 0:
        return RunStatus(state, model, topics, portraits=portraits)
    with readable(run.journal), closing(connect_reader(run.journal)) as journal:
        journal.execute("BEGIN")  # all that follows is of one moment
        prompt_tokens, cached_tokens, completion_tokens = journal.execute(TOKENS).fetchone()
        unknown, reserved = [], 0.0
        for *call, is_under_way in journal.execute(OPEN_CALLS):
            if is_under_way and state == "running":
                reserved += call[-1]
            else:
                unknown.append(UnknownCall(*call))
        spent = journal.execute(SPENT).fetchone()[0] - reserved
        return RunStatus(
            state=state,
            model=model,
            topics_planned=topics,
            groups=dict(journal.execute(BY_STATUS)),
            reasons=dict(journal.execute(BY_REASON)),
            calls=dict(journal.execute(BY_RESULT)),
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            completion_tokens=completion_tokens,
            spent_usd=spent if record.prices else None,
            reserved_usd=reserved,
            max_cost_usd=record.settings.max_cost,
            unknown_calls=unknown,
            portraits=portraits,
        )


def describe_unpriced(run: RunDir, record: Record) -> list[str]:
    """What a cap does not know: what earlier calls cost that were made without a price."""
    sheets = [sheet for each in record.prices.values() for sheet in each.values()]
    if record.settings.max_cost is None or not any(
        sheet.prompt or sheet.completion for sheet in sheets
    ):
        return []
    with closing(connect_reader(run.journal)) as journal:
        count = int(journal.execute(UNPRICED).fetchone()[0])
    told = f"{count:,} calls were made before a price was known and count as $0 of --max-cost."
    return [told] if count else []


def state_of(run: RunDir) -> str:
    """Whether a process works on the run, and if none does, whether it has come to its end."""
    if is_locked(run):
        return "running"
    return "finished" if run.is_finished else "stopped"


def is_locked(run: RunDir) -> bool:
    """Whether a process holds the lock of `run`.

    Asked for as a shared lock: any number of those who look get it at once, and it is gone before
    one who wants to work has tried for long.
    """
    try:
        lock = os.open(run.path / LOCK, os.O_RDONLY)
    except OSError:  # nobody ever worked on it, or there is no right to
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(lock)
    return False
