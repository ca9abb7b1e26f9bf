"""An A/B run: groups are sampled, merged by each arm in turn, judged, and compared.

job = AbJob.begin(settings, ["A=merge/v1", "B=merge/v2"], n_groups=400, out=Path("ab"))
result = await job.run()
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from mergeit_async.compare.arm_merger import all_at_once, place_of, take_turns
from mergeit_async.compare.arms import count_samples, parse_arms
from mergeit_async.compare.judging import Verdicts
from mergeit_async.compare.result import Result, write_result
from mergeit_async.compare.sample import sample_groups
from mergeit_async.compare.stages import Stages
from mergeit_async.compare.trial_dir import (
    Trial,
    TrialDir,
    find_all_prices,
    identify_trial,
    judging_of,
)
from mergeit_async.config import Settings, change
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.engine.file_system import refuse_network
from mergeit_async.engine.identity import Identity
from mergeit_async.engine.inspector import open_inspector
from mergeit_async.engine.journal import Journal, open_journal
from mergeit_async.engine.mergers import Merger
from mergeit_async.engine.pipeline import WORKERS_PER_PLACE, Pipeline
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.planner import Planner
from mergeit_async.engine.prices import Prices
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.run_dir import Record, RunDir, Stamp, check_reopened
from mergeit_async.engine.run_errors import readable_errors
from mergeit_async.engine.session import Session, open_session
from mergeit_async.engine.status import describe_unpriced
from mergeit_async.engine.tables import connect_reader, has_outcomes, readable
from mergeit_async.engine.tuning import following_tuning
from mergeit_async.engine.under_way import UnderWay
from mergeit_async.errors import UsageError
from mergeit_async.records import Outcome

Tell = Callable[[Sequence[PlannedGroup]], None]


class AbJob:
    """One A/B run: begun, grown or reopened, run, drained, with its result in `ab.json`.

    `progress` may be read at any time. `begin` and `reopen` check everything that can be known
    before a byte leaves and raise `UsageError`.
    """

    def __init__(
        self, run: RunDir, record: Record, trial: Trial, kept: Trial | None = None
    ) -> None:
        self.run_dir = run
        self.settings = record.settings
        self.trial = trial
        self._kept = kept
        self.progress = Progress()
        self._dir = TrialDir(run)
        self._record = record
        self.planner = Planner(run, self.settings, record.identity, self.progress)
        self._under_way = UnderWay()

    @classmethod
    def begin(cls, settings: Settings, arms: Sequence[str], n_groups: int, out: Path) -> AbJob:
        """A run of these arms in `out`; what is there of the same run already counts.

        An existing run may get more arms and more groups.
        """
        run = RunDir(out)
        settings = settings.model_copy(update={"threshold": settings.similarity_threshold})
        trial = Trial(n_groups, parse_arms(arms, settings), judging_of(settings))
        if has_merged(run):
            return cls._open(run, settings, trial)
        if not TrialDir(run).record.exists():  # else one that never got as far as a merge
            run.refuse_if_taken()
        if not settings.allow_network_fs:
            refuse_network(out)
        trial = replace(trial, arms=count_samples(trial.arms, settings))
        identity = identify_trial(settings, dataset_digest(settings.dataset), trial)
        prices = find_all_prices(settings, trial.arms)
        record = Record(settings, identity, Stamp.of(settings.dataset), prices)
        return cls(run, record, trial)

    @classmethod
    def reopen(cls, path: Path, changes: Mapping[str, Any] | None = None) -> AbJob:
        """The run in `path`, to go on with; `changes` are settings that do not alter the result."""
        run = RunDir(path)
        settings = change(run.read_record().settings, changes or {})
        kept = TrialDir(run).read()
        texts = [f"{arm.name}={arm.description}" for arm in kept.arms]
        trial = Trial(kept.n_groups, parse_arms(texts, settings), judging_of(settings))
        return cls._open(run, settings, trial)

    @classmethod
    def _open(cls, run: RunDir, settings: Settings, trial: Trial) -> AbJob:
        begun, kept = run.read_record(), TrialDir(run).read()
        grown = kept.grown_to(trial)
        new = count_samples(grown.arms[len(kept.arms) :], settings, kept.arms)
        grown = replace(grown, arms=kept.arms + new)
        if not settings.allow_network_fs:
            refuse_network(run.path)

        def identify_now(dataset: str, vectors: str | None) -> Identity:
            return identify_trial(settings, dataset, grown, vectors)

        record = check_reopened(run, begun, settings, identify_now)
        prices = find_all_prices(settings, grown.arms, begun.prices)
        return cls(run, replace(record, prices=prices), grown, kept)

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is started."""
        return self._under_way.is_draining

    def drain(self) -> None:
        """Start nothing more; what is in flight is finished and committed, then `run` raises."""
        self._under_way.drain()

    async def run(
        self,
        tell: Tell = lambda _: None,
        *,
        retry_failed: bool = False,
    ) -> Result:
        """Merge and judge what is not done yet, and compare; the result is in `ab.json` too.

        `tell` hears of the sample before anything is sent. Raises `StoppedError` when the run
        ended early and can be resumed.
        """
        with self._working():
            if retry_failed:
                self._dir.forget_result()
            with self._under_way.cancellable():
                sample = await anyio.to_thread.run_sync(self._plan, abandon_on_cancel=True)
                tell(sample)
                verdicts = await self._work(sample, retry_failed)
            self.progress.enter("comparing")
            return await anyio.to_thread.run_sync(
                write_result, self._dir, self.trial, self._record, sample, verdicts
            )

    @property
    def prices(self) -> Prices:
        """The prices of all models, as far as they are known."""
        return self._record.prices

    def plan(self) -> list[PlannedGroup]:
        """The groups that the arms are compared on; raises `UsageError` where there are none."""
        with self._working():
            return self._plan()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Alone in the directory, which tells what the run is from here on."""
        with self.run_dir.locked(), readable_errors(self.run_dir):
            self.run_dir.clear_leftovers()
            # What an earlier session was asked for is part of the record since then.
            self.run_dir.tuning.unlink(missing_ok=True)
            self.run_dir.plan.path.mkdir(parents=True, exist_ok=True)
            if self._kept is None:
                # Before the other record: without it, this would look like a run that merges all.
                self._dir.write(self.trial)
            self.run_dir.write_record(self._record)
            yield

    def _commit(self) -> None:
        """From here on the run is what it has grown to; a refused arm never gets so far."""
        if self.trial != self._kept:
            self._dir.forget_result()
            self._dir.write(self.trial)

    def _plan(self) -> list[PlannedGroup]:
        topics = self.planner.topics()
        sample = sample_groups(topics, self.trial.n_groups, self.settings.seed)
        if not sample:
            raise UsageError(
                f"There are no groups in {self.settings.dataset} to compare on; lower --threshold."
            )
        self.progress.groups = len(sample) * len(self.trial.arms)
        return sample

    async def _work(self, sample: list[PlannedGroup], retry_failed: bool) -> Verdicts | None:
        reuse = RunDir(self.settings.reuse).journal if self.settings.reuse else None
        async with AsyncExitStack() as stack:
            tell = self.progress.notices.append
            journal = await stack.enter_async_context(
                open_journal(self.run_dir.journal, reuse=reuse, tell=tell)
            )
            if retry_failed:
                await journal.reopen_failed()
            n_arms = len(self.trial.arms)
            places = {place_of(arm, each.position) for arm in range(n_arms) for each in sample}
            self.progress.resumed = len(places & journal.finished)
            if places <= journal.finished and not self.settings.judge:
                self._commit()
                return None
            return await self._ask(stack, journal, sample)

    async def _ask(
        self, stack: AsyncExitStack, journal: Journal, sample: Sequence[PlannedGroup]
    ) -> Verdicts | None:
        session = await stack.enter_async_context(
            open_session(self.settings, self._record.prices, journal, self._under_way.stop)
        )
        self.progress.notices += describe_unpriced(self.run_dir, self._record)
        await stack.enter_async_context(
            following_tuning(self.run_dir.tuning, partial(self._tune, session))
        )
        self.progress.session = session
        stages = Stages(self.settings, self.trial, self.planner.load_group, session, journal)
        self.trial = await stages.settle_forms()
        self._commit()
        inspector = await stack.enter_async_context(
            open_inspector(stages.knowledge(self.run_dir.plan.words))
        )
        workers = WORKERS_PER_PLACE * session.limiter.places
        await self._stream(
            stages.merging(inspector),
            take_turns(sample, len(self.trial.arms)),
            workers,
            journal.finished,
        )
        if self.settings.judge is None:
            return None
        self.progress.enter("judging", len(sample))
        judging = stages.judging(self.run_dir.journal)
        await self._stream(judging, [all_at_once(sample)], workers)
        return judging.verdicts(sample)

    async def _stream(
        self,
        merger: Merger[Any],
        topics: Iterable[PlannedTopic],
        workers: int,
        finished: Container[int] | None = None,
    ) -> None:
        """Send `topics` through `merger`; only with `finished` are they merges, and counted."""
        pipeline = Pipeline(
            merger,
            () if finished is None else finished,
            workers=workers,
            observe=self._count_judged if finished is None else self.progress.count,
            on_error=self.progress.stop,
        )
        await self._under_way.run(pipeline, topics)

    def _count_judged(self, _: Outcome) -> None:
        self.progress.done += 1

    def _tune(self, session: Session, changes: dict[str, Any]) -> None:
        session.tune(changes)
        self._under_way.widen(WORKERS_PER_PLACE * session.limiter.places)
        self._record = replace(self._record, settings=change(self.settings, changes))
        self.run_dir.write_record(self._record)


def has_merged(run: RunDir) -> bool:
    """Whether `run` is an A/B run in which a group has come to its end."""
    if not TrialDir(run).record.exists() or not run.journal.exists():
        return False
    with readable(run.journal), closing(connect_reader(run.journal)) as journal:
        return has_outcomes(journal)
