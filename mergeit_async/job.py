"""The Python API: settings in, a stream of outcomes out, a merged dataset on disk.

job = Job.begin(build_settings({"dataset": Path("rows.jsonl")}), Path("run"))
summary = await job.run()
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from mergeit_async.config import Settings, change
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.engine.export import Exporter, Origin, Summary
from mergeit_async.engine.file_system import refuse_network
from mergeit_async.engine.identity import Identity, identify
from mergeit_async.engine.inspector import Knowledge, open_inspector
from mergeit_async.engine.journal import Journal, open_journal
from mergeit_async.engine.lanes import prepare_servers
from mergeit_async.engine.mergers import ChatMerger, ComposeMerger, Merger
from mergeit_async.engine.pipeline import WORKERS_PER_PLACE, Pipeline
from mergeit_async.engine.planner import Planner, count_lines
from mergeit_async.engine.probe import Probe
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.prompts import Prompts, find_prompts
from mergeit_async.engine.referee import Referee
from mergeit_async.engine.requests import Requests
from mergeit_async.engine.run_dir import Record, RunDir, Stamp, check_reopened
from mergeit_async.engine.run_errors import readable_errors
from mergeit_async.engine.session import Session, open_session
from mergeit_async.engine.status import describe_unpriced
from mergeit_async.engine.tables import (
    connect_reader,
    connect_writer,
    forget_all,
    has_entries,
    has_only_failures,
)
from mergeit_async.engine.tuning import following_tuning
from mergeit_async.engine.under_way import UnderWay
from mergeit_async.errors import StoppedError, UsageError
from mergeit_async.records import Outcome

COMPOSE_WORKERS = 32


class Job:
    """One run of one dataset: begun or reopened, run, drained, exported.

    `progress` may be read at any time. Use `begin` or `reopen`; both check everything that can
    be known before a byte leaves and raise `UsageError`.
    """

    def __init__(
        self, run: RunDir, record: Record, prompts: Prompts | None, *, is_new: bool
    ) -> None:
        self.run_dir = run
        self.settings = record.settings
        self.progress = Progress()
        self._record = record
        self._is_new = is_new
        self._prompts = prompts
        self._planner = Planner(run, self.settings, record.identity, self.progress)
        self._under_way = UnderWay()

    @classmethod
    def begin(cls, settings: Settings, out: Path) -> Job:
        """A new run of `settings` in the directory `out`, which must be absent or empty."""
        run = RunDir(out)
        run.refuse_if_taken()
        if not settings.allow_network_fs:
            refuse_network(out)
        # Frozen: a later default must not change what this run is.
        settings = settings.model_copy(update={"threshold": settings.similarity_threshold})
        prompts = find_prompts(settings)
        prices = prepare_servers(settings, prompts)
        dataset = dataset_digest(settings.dataset)
        record = Record(
            settings, identify(settings, dataset, prompts), Stamp.of(settings.dataset), prices
        )
        job = cls(run, record, prompts, is_new=True)
        run.create(record)
        return job

    @classmethod
    def reopen(cls, path: Path, changes: Mapping[str, Any] | None = None) -> Job:
        """The run in `path`, to go on with; `changes` are settings that do not alter the result.

        Raises `UsageError` when the dataset, the prompt or the algorithms are no longer those
        that the run began with.
        """
        run = RunDir(path)
        begun = run.read_record()
        settings = change(begun.settings, changes or {})
        if not settings.allow_network_fs:
            refuse_network(path)
        prompts = find_prompts(settings)

        def identify_now(dataset: str, vectors: str | None) -> Identity:
            return identify(settings, dataset, prompts, vectors)

        record = check_reopened(run, begun, settings, identify_now)
        prices = prepare_servers(settings, prompts, begun.prices)
        return cls(run, replace(record, prices=prices), prompts, is_new=False)

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is started."""
        return self._under_way.is_draining

    def drain(self) -> None:
        """Start nothing more; what is in flight is finished and committed, then `run` raises."""
        self._under_way.drain()

    async def run(
        self,
        observe: Callable[[Outcome], None] = lambda _: None,
        *,
        retry_failed: bool = False,
    ) -> Summary:
        """Plan, merge and export what is not done yet; each outcome is durable when observed.

        Raises `StoppedError` when the run ended early and can be resumed. With `retry_failed`,
        groups that never got a reply are sent again.
        """
        with (
            self.run_dir.locked(),
            self._discarded_if_unusable(),
            readable_errors(self.run_dir),
        ):
            self.run_dir.clear_leftovers()
            # What an earlier session was asked for is part of the record since then.
            self.run_dir.tuning.unlink(missing_ok=True)
            self.run_dir.write_record(self._record)
            if retry_failed:
                # An unfinished run has no result: it appears again when the retries have ended.
                self.run_dir.merged.unlink(missing_ok=True)
            with self._under_way.cancellable():
                await self._merge(observe, retry_failed)
            self._refuse_total_failure()
            return await anyio.to_thread.run_sync(self._export)

    @asynccontextmanager
    async def outcomes(self) -> AsyncIterator[MemoryObjectReceiveStream[Outcome]]:
        """Run the job and receive its outcomes as they become durable, in no fixed order.

        Leaving the block early drains the run. Raises what `run` raises, and what the block does.
        """
        send, receive = anyio.create_memory_object_stream[Outcome](math.inf)
        # Kept and raised below: a task group would wrap them in a group of their own.
        errors: list[Exception] = []

        def forward(outcome: Outcome) -> None:
            with suppress(anyio.BrokenResourceError):
                send.send_nowait(outcome)

        async def run() -> None:
            with send:
                try:
                    await self.run(forward)
                except Exception as error:
                    errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            try:
                with receive:
                    yield receive
            except Exception as error:
                errors.insert(0, error)
            has_left_early = send.statistics().open_send_streams > 0
            if has_left_early:
                self.drain()
        if errors and not (has_left_early and isinstance(errors[0], StoppedError)):
            raise errors[0]

    async def _merge(self, observe: Callable[[Outcome], None], retry_failed: bool) -> None:
        reuse = RunDir(self.settings.reuse).journal if self.settings.reuse else None
        async with AsyncExitStack() as stack:
            tell = self.progress.notices.append
            journal = await stack.enter_async_context(
                open_journal(self.run_dir.journal, reuse=reuse, tell=tell)
            )
            if retry_failed:
                await journal.reopen_failed()
            self.progress.resumed = len(journal.finished)
            if self._planner.is_merged(journal.finished):
                return
            merger, workers, prepare = await self._choose_merger(journal, stack)

            def count(outcome: Outcome) -> None:
                self.progress.count(outcome)
                observe(outcome)

            pipeline = Pipeline(
                merger,
                journal.finished,
                workers=workers,
                observe=count,
                on_error=self.progress.stop,
                prepare=prepare,
            )
            await self._under_way.run(pipeline, self._planner.topics())

    async def _choose_merger(
        self, journal: Journal, stack: AsyncExitStack
    ) -> tuple[Merger[Any], int, Callable[[], Awaitable[None]]]:
        settings = self.settings
        few_shots = self._prompts.few_shots if self._prompts else ()
        knowledge = Knowledge(settings.min_information, self.run_dir.plan.words, few_shots)
        inspector = await stack.enter_async_context(open_inspector(knowledge))
        if self._prompts is None:
            merger = ComposeMerger(self._planner.load_group, journal, inspector)
            return merger, COMPOSE_WORKERS, anyio.lowlevel.checkpoint
        session = await stack.enter_async_context(
            open_session(settings, self._record.prices, journal, self._under_way.stop)
        )
        self.progress.notices += describe_unpriced(self.run_dir, self._record)
        await stack.enter_async_context(
            following_tuning(self.run_dir.tuning, partial(self._tune, session))
        )
        self.progress.session = session
        requests = Requests(settings, self._prompts)
        referee = None
        if self._prompts.judge is not None:
            referee = Referee(requests, session.caller, journal)
        chat = ChatMerger(
            self._planner.load_group,
            requests,
            session.caller,
            journal,
            inspector,
            settings.max_attempts,
            referee,
        )
        workers = WORKERS_PER_PLACE * session.limiter.places
        return chat, workers, partial(self._settle_forms, session, journal, requests)

    async def _settle_forms(self, session: Session, journal: Journal, requests: Requests) -> None:
        """How to ask the servers: found out once, and part of what the run is from then on."""
        identity = self._record.identity
        if not identity.forms:
            probe = Probe(session.caller, journal, session.limiter.lanes)
            forms = await probe.settle(self.settings, requests)
            self._record = replace(self._record, identity=replace(identity, forms=forms))
            self.run_dir.write_record(self._record)
        requests.settle(**self._record.identity.forms)

    def _tune(self, session: Session, changes: dict[str, Any]) -> None:
        session.tune(changes)
        self._under_way.widen(WORKERS_PER_PLACE * session.limiter.places)
        self._record = replace(self._record, settings=change(self.settings, changes))
        self.run_dir.write_record(self._record)

    @contextmanager
    def _discarded_if_unusable(self) -> Iterator[None]:
        """Leave no directory behind when the input of a new run turns out to be unusable."""
        try:
            yield
        except UsageError as error:
            if not self._is_new:
                raise
            if self._has_results():
                raise StoppedError(str(error)) from error
            self.run_dir.discard()
            raise
        finally:
            self._is_new = False

    def _refuse_total_failure(self) -> None:
        """Stop, resumably, instead of calling a run done in which no call succeeded."""
        with closing(connect_writer(self.run_dir.journal)) as journal:
            if why := has_only_failures(journal):
                forget_all(journal)
                raise StoppedError(f"No group got a usable answer, the last one because: {why}.")

    def _has_results(self) -> bool:
        """Whether the journal holds anything that must not be lost."""
        if not self.run_dir.journal.exists():
            return False
        with closing(connect_reader(self.run_dir.journal)) as journal:
            return has_entries(journal)

    def _export(self) -> Summary:
        self.progress.enter("exporting")
        # A planner of its own: what is shown as planned stays as it is.
        planner = Planner(self.run_dir, self.settings, self._record.identity, Progress())
        origin = Origin(self.settings.model, self._prompts.hashes if self._prompts else {})
        words = [portrait.words for portrait in planner.portraits()]
        exporter = Exporter(self.run_dir, planner.rows(), origin, words)
        return exporter.export(planner.topics(), count_lines(self.run_dir.rejected))
