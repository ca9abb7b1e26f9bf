"""The Python API: settings in, a stream of outcomes out, a merged dataset on disk.

job = Job.begin(build_settings({"dataset": Path("rows.jsonl")}), Path("run"))
summary = await job.run()
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from mergeit_async.config import DEFAULT_KEY_ENV, IDENTITY, OPENAI_BASE_URL, Settings, checked
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.engine.caller import Caller
from mergeit_async.engine.export import Exporter, Origin, Summary
from mergeit_async.engine.faults import stop_for
from mergeit_async.engine.identity import find_prompt, identify
from mergeit_async.engine.journal import Journal, open_journal
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.mergers import ChatMerger, ComposeMerger, Merger, request_builder
from mergeit_async.engine.pipeline import Pipeline
from mergeit_async.engine.planner import Planner, count_lines
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.run_dir import Record, RunDir, Stamp, dataset_now
from mergeit_async.engine.tables import (
    connect_reader,
    connect_writer,
    forget_failures,
    has_entries,
    has_only_failures,
)
from mergeit_async.errors import MergeItError, ProviderError, StoppedError, UsageError
from mergeit_async.providers.address import parse_api_key, parse_base_url
from mergeit_async.providers.http import HttpChat
from mergeit_async.records import Outcome
from mergeit_async.templates.version import PromptVersion

COMPOSE_WORKERS = 32


class Job:
    """One run of one dataset: begun or reopened, run, drained, exported.

    `progress` may be read at any time. Use `begin` or `reopen`; both check everything that can
    be known before a byte leaves and raise `UsageError`.
    """

    def __init__(
        self, run: RunDir, record: Record, prompt: PromptVersion | None, *, is_new: bool
    ) -> None:
        self.run_dir = run
        self.settings = record.settings
        self.progress = Progress()
        self._record = record
        self._is_new = is_new
        self._prompt = prompt
        self._planner = Planner(run, self.settings, record.identity, self.progress)
        self._pipeline: Pipeline | None = None
        self.is_draining = False

    @classmethod
    def begin(cls, settings: Settings, out: Path) -> Job:
        """A new run of `settings` in the directory `out`, which must be absent or empty."""
        run = RunDir(out)
        run.refuse_if_taken()
        # Frozen: a later default must not change what this run is.
        settings = settings.model_copy(update={"threshold": settings.similarity_threshold})
        prompt = find_prompt(settings)
        if prompt is not None:
            find_api_key(settings)
        dataset = dataset_digest(settings.dataset)
        record = Record(settings, identify(settings, dataset, prompt), Stamp.of(settings.dataset))
        job = cls(run, record, prompt, is_new=True)
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
        prompt = find_prompt(settings)
        # Stored vectors are not read again from where they came from.
        vectors = begun.identity.vectors if run.plan.vectors.exists() else None
        dataset = dataset_now(run, begun, settings.dataset)
        now = identify(settings, dataset, prompt, vectors)
        if changed := begun.identity.difference(now):
            raise UsageError(
                f"Cannot resume {path}: {changed} has changed since the run began; restore it, or "
                f"begin a new run with another --out and --reuse {path}."
            )
        stamp = Stamp.of(settings.dataset) if settings.dataset.exists() else begun.stamp
        return cls(run, replace(begun, settings=settings, stamp=stamp), prompt, is_new=False)

    def drain(self) -> None:
        """Start nothing more; what is in flight is finished and committed, then `run` raises."""
        self.is_draining = True
        if self._pipeline is not None:
            self._pipeline.drain()

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
            self.run_dir.write_record(self._record)
            if retry_failed:
                self._forget_failures()
            await self._merge(observe)
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

    async def _merge(self, observe: Callable[[Outcome], None]) -> None:
        reuse = RunDir(self.settings.reuse).journal if self.settings.reuse else None
        async with AsyncExitStack() as stack:
            journal = await stack.enter_async_context(
                open_journal(self.run_dir.journal, reuse=reuse)
            )
            self.progress.resumed = len(journal.finished)
            if self._planner.is_merged(journal.finished):
                return
            merger, workers = await self._choose_merger(journal, stack)

            def count(outcome: Outcome) -> None:
                self.progress.count(outcome)
                observe(outcome)

            self._pipeline = Pipeline(
                merger, self._planner.load_group, journal.finished, workers=workers, observe=count
            )
            if self.is_draining:
                self._pipeline.drain()
            await self._pipeline.run(self._planner.topics())
            if self._pipeline.is_drained:
                raise StoppedError("Stopped on request; what was in flight is saved.")

    async def _choose_merger(self, journal: Journal, stack: AsyncExitStack) -> tuple[Merger, int]:
        settings = self.settings
        if self._prompt is None:
            return ComposeMerger(journal), COMPOSE_WORKERS
        provider = await stack.enter_async_context(
            HttpChat(settings.base_url, find_api_key(settings), settings.max_in_flight)
        )
        try:
            await provider.check()
        except ProviderError as fault:
            raise stop_for(fault) from fault
        limiter = Limiter(settings.max_in_flight, settings.rpm, settings.tpm)
        caller = Caller(
            provider,
            limiter,
            journal,
            timeout_s=settings.timeout_s,
            max_tries=settings.max_tries,
        )
        build = request_builder(settings, self._prompt)
        # Twice as many groups as places in flight: while some wait for the disk, others send.
        return ChatMerger(build, caller, journal, settings.max_attempts), settings.max_in_flight * 2

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
                forget_failures(journal)
                raise StoppedError(f"No group got a usable answer, the last one because: {why}.")

    def _has_results(self) -> bool:
        """Whether the journal holds anything that must not be lost."""
        if not self.run_dir.journal.exists():
            return False
        with closing(connect_reader(self.run_dir.journal)) as journal:
            return has_entries(journal)

    def _forget_failures(self) -> None:
        # An unfinished run has no result: it appears again when the retries have ended.
        self.run_dir.merged.unlink(missing_ok=True)
        with closing(connect_writer(self.run_dir.journal)) as journal:
            forget_failures(journal)

    def _export(self) -> Summary:
        self.progress.enter("exporting")
        # A planner of its own: what is shown as planned stays as it is.
        planner = Planner(self.run_dir, self.settings, self._record.identity, Progress())
        prompt = self._prompt
        model = self.settings.model
        origin = Origin(model, prompt.name, prompt.hash) if prompt else Origin(model)
        exporter = Exporter(self.run_dir, planner.rows(), origin)
        return exporter.export(planner.topics(), count_lines(self.run_dir.rejected))


def find_api_key(settings: Settings) -> str | None:
    """The key from the environment; raises `UsageError` where one is needed and absent."""
    variable = settings.api_key_env
    key = parse_api_key(os.environ.get(variable), f"${variable}")
    is_needed = parse_base_url(settings.base_url) == OPENAI_BASE_URL or variable != DEFAULT_KEY_ENV
    if key is None and is_needed:
        raise UsageError(
            f"There is no key in ${variable}; set it, or name your own server with --base-url, or "
            "use --model offline/compose, which needs none."
        )
    return key


def change(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with `changes`; raises `UsageError` for one that would alter the result."""
    for name in changes:
        if IDENTITY.get(name, False):
            raise UsageError(
                f"--{name.replace('_', '-')} changes the result and cannot be given to resume; "
                "begin a new run with another --out and --reuse."
            )
    return checked(settings.model_dump() | dict(changes))


@contextmanager
def readable_errors(run: RunDir) -> Iterator[None]:
    """One error of ours instead of a group of them, or of the disk's; bugs pass as they are."""
    try:
        yield
    except (ExceptionGroup, OSError) as error:
        causes = list(leaves(error))
        ours = [cause for cause in causes if isinstance(cause, MergeItError)]
        of_disk = [cause for cause in causes if isinstance(cause, OSError)]
        if len(ours) + len(of_disk) < len(causes):
            raise
        if ours:
            raise ours[0] from None
        raise StoppedError(
            f"Cannot write to {run.path}: {of_disk[0].strerror or of_disk[0]}; make room or mend "
            "the disk."
        ) from error


def leaves(error: Exception) -> Iterator[Exception]:
    """The plain errors inside nested groups."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
