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
from mergeit_async.engine.identity import identify
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
from mergeit_async.engine.run_dir import Record, RunDir, Stamp, dataset_now
from mergeit_async.engine.run_errors import readable_errors
from mergeit_async.engine.session import Session, open_session
from mergeit_async.engine.status import count_unpriced
from mergeit_async.engine.tables import (
    connect_reader,
    connect_writer,
    forget_all,
    has_entries,
    has_only_failures,
)
from mergeit_async.engine.tuning import watch_tuning
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
        self._pipeline: Pipeline[Any] | None = None
        self._before_pipeline: anyio.CancelScope | None = None
        self.is_draining = False

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
        # Stored vectors are not read again from where they came from.
        vectors = begun.identity.vectors if run.plan.vectors.exists() else None
        dataset = dataset_now(run, begun, settings.dataset)
        now = identify(settings, dataset, prompts, vectors)
        if changed := begun.identity.difference(now):
            raise UsageError(
                f"Cannot resume {path}: {changed} has changed since the run began; restore it, or "
                f"begin a new run with another --out and --reuse {path}."
            )
        stamp = Stamp.of(settings.dataset) if settings.dataset.exists() else begun.stamp
        prices = prepare_servers(settings, prompts, begun.prices)
        record = replace(begun, settings=settings, stamp=stamp, prices=prices)
        return cls(run, record, prompts, is_new=False)

    def drain(self) -> None:
        """Start nothing more; what is in flight is finished and committed, then `run` raises."""
        self.is_draining = True
        if self._pipeline is not None:
            self._pipeline.drain()
        elif self._before_pipeline is not None:
            self._before_pipeline.cancel()

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
            with anyio.CancelScope() as self._before_pipeline:
                await self._merge(observe, retry_failed)
            if self._before_pipeline.cancelled_caught:
                raise StoppedError("Stopped on request; nothing was in flight.")
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

            self._pipeline = Pipeline(
                merger,
                journal.finished,
                workers=workers,
                observe=count,
                on_error=self.progress.stop,
                prepare=prepare,
            )
            if self.is_draining:
                self._pipeline.drain()
            await self._pipeline.run(self._planner.topics())

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
            open_session(settings, self._record.prices, journal, self._stop)
        )
        self._tell_unpriced()
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(watch_tuning, self.run_dir.tuning, self._tune(session))
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

    def _tell_unpriced(self) -> None:
        """A cap does not know what earlier calls cost that were made without a price."""
        sheets = (sheet for each in self._record.prices.values() for sheet in each.values())
        has_cost = any(sheet.prompt or sheet.completion for sheet in sheets)
        if self.settings.max_cost is None or not has_cost:
            return
        if count := count_unpriced(self.run_dir):
            self.progress.notices.append(
                f"{count:,} calls were made before a price was known and count as $0 of --max-cost."
            )

    def _stop(self, error: Exception) -> None:
        if self._pipeline is not None:
            self._pipeline.drain(error)

    def _tune(self, session: Session) -> Callable[[dict[str, Any]], None]:
        def apply(changes: dict[str, Any]) -> None:
            session.tune(changes)
            if self._pipeline is not None:
                self._pipeline.widen(WORKERS_PER_PLACE * session.limiter.places)
            self._record = replace(self._record, settings=change(self.settings, changes))
            self.run_dir.write_record(self._record)

        return apply

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
