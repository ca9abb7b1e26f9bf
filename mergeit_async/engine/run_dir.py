"""The directory of one run: its files, the settings it began with, and who may work on it."""

from __future__ import annotations

import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import tomli_w
from filelock import FileLock, Timeout

from mergeit_async import __version__
from mergeit_async.config import Settings, checked
from mergeit_async.data.atomic import write_atomically
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.engine.identity import Identity
from mergeit_async.engine.plan_folder import PlanFolder
from mergeit_async.engine.prices import Prices, PriceSheet
from mergeit_async.errors import UsageError

LOCK = "lock"
JOURNAL_FILES = ("journal.db", "journal.db-wal", "journal.db-shm", "journal.lock")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and time of a dataset file: equal stamps spare hashing it again."""

    n_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Record:
    """What `run.toml` says a run is; `prices` are those of its servers and models."""

    settings: Settings
    identity: Identity
    stamp: Stamp
    prices: Prices = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunDir:
    """Where a run keeps everything; see DESIGN for what each file holds."""

    path: Path

    @property
    def record(self) -> Path:
        """Settings and identity, without any secret."""
        return self.path / "run.toml"

    @property
    def plan(self) -> PlanFolder:
        """The artefacts of stage 1."""
        return PlanFolder(self.path / "plan")

    @property
    def journal(self) -> Path:
        """What was called and what came of it."""
        return self.path / "journal.db"

    @property
    def tuning(self) -> Path:
        """What `tune` asks of a running job."""
        return self.path / "tune.toml"

    @property
    def merged(self) -> Path:
        """The resulting dataset; it exists only when the run has finished."""
        return self.path / "merged.jsonl"

    @property
    def compared(self) -> Path:
        """The result of an A/B run, in the place of a dataset."""
        return self.path / "ab.json"

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.merged.exists() or self.compared.exists()

    @property
    def lineage(self) -> Path:
        """Where each row of the result comes from."""
        return self.path / "lineage.jsonl"

    @property
    def report(self) -> Path:
        """The run as a page."""
        return self.path / "report.html"

    @property
    def filtered(self) -> Path:
        """The usable rows that stage 1 left out, each with its reason."""
        return self.path / "filtered.jsonl"

    @property
    def rejected(self) -> Path:
        """The records that could not be used, each with its place and reason."""
        return self.path / "rejected.jsonl"

    def create(self, record: Record) -> None:
        """Make the directory and record what the run is.

        Raises `UsageError` when it holds another run or anything else.
        """
        self.refuse_if_taken()
        try:
            self.plan.path.mkdir(parents=True, exist_ok=True)
            self.write_record(record)
        except OSError as error:
            raise UsageError(
                f"Cannot write to {self.path}: {error.strerror or error}; choose another --out."
            ) from None

    def refuse_if_taken(self) -> None:
        """Raise `UsageError` unless the directory is absent or empty."""
        try:
            self._refuse_content()
        except OSError as error:
            raise UsageError(
                f"Cannot look into {self.path}: {error.strerror}; choose another --out."
            ) from None

    def _refuse_content(self) -> None:
        if self.record.exists():
            state = "a finished" if self.is_finished else "an unfinished"
            raise UsageError(
                f"{self.path} holds {state} run; go on with `python -m mergeit_async resume "
                f"{shlex.quote(str(self.path))}`, or choose another --out."
            )
        if self.path.is_dir() and any(entry.name != LOCK for entry in self.path.iterdir()):
            raise UsageError(f"{self.path} is not empty and holds no run; choose another --out.")
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; choose a directory for --out.")

    def write_record(self, record: Record) -> None:
        """Write `run.toml`, atomically."""
        content = {
            "mergeit_async": __version__,
            "fingerprint": record.identity.fingerprint,
            "identity": asdict(record.identity),
            "stamp": asdict(record.stamp),
            "prices": {
                url: {model: asdict(sheet) for model, sheet in sheets.items()}
                for url, sheets in record.prices.items()
            },
            "settings": record.settings.model_dump(mode="json", exclude_none=True),
        }
        with write_atomically(self.record) as file:
            tomli_w.dump(content, file)

    def read_record(self) -> Record:
        """What `write_record` wrote; raises `UsageError` where no run is recorded."""
        try:
            content = tomllib.loads(self.record.read_text(encoding="utf-8"))
            # TOML has no null: what is absent was None, and `per_cluster` None is "all".
            settings = checked({"per_cluster": "all"} | content["settings"])
            prices = {
                url: {model: PriceSheet(**sheet) for model, sheet in sheets.items()}
                for url, sheets in content["prices"].items()
            }
            identity, stamp = Identity(**content["identity"]), Stamp(**content["stamp"])
            return Record(settings, identity, stamp, prices)
        except FileNotFoundError:
            raise UsageError(
                f"{self.path} holds no run (there is no run.toml); name the directory that was "
                "given as --out."
            ) from None
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            raise UsageError(f"{self.record} cannot be used ({error}); restore it.") from None

    def clear_leftovers(self) -> None:
        """Remove what a killed process had begun to write; whole files are never touched."""
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink()

    def discard(self) -> None:
        """Remove the files of a run that cannot begin, and its directory if that is empty then."""
        shutil.rmtree(self.plan.path, ignore_errors=True)
        for name in ("run.toml", "tune.toml", LOCK, "rejected.jsonl", *JOURNAL_FILES):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other processes off this run; the lock ends with the process at the latest."""
        lock = FileLock(self.path / LOCK, timeout=1)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # A `status` looking at the lock holds it for a moment; a second is no such moment.
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"Another process is working on {self.path}; wait for it or stop it first."
            ) from None
        except OSError as error:
            raise UsageError(
                f"Cannot work in {self.path}: {error.strerror}; give yourself the right to write."
            ) from None
        try:
            yield
        finally:
            lock.release()


def check_reopened(
    run: RunDir,
    begun: Record,
    settings: Settings,
    identify: Callable[[str, str | None], Identity],
) -> Record:
    """The record of a run that goes on with `settings`, at the prices it began with.

    `identify` tells what it is now, by the hashes of its dataset and of vectors that are stored
    already. Raises `UsageError` where that is not what it began as.
    """
    # Stored vectors are not read again from where they came from.
    vectors = begun.identity.vectors if run.plan.vectors.exists() else None
    now = identify(dataset_now(run, begun, settings.dataset), vectors)
    if changed := begun.identity.difference(now):
        raise UsageError(
            f"Cannot resume {run.path}: {changed} has changed since the run began; restore it, or "
            f"begin a new run with another --out and --reuse {run.path}."
        )
    stamp = Stamp.of(settings.dataset) if settings.dataset.exists() else begun.stamp
    identity = replace(now, forms=begun.identity.forms)
    return Record(settings, identity, stamp, begun.prices)


def dataset_now(run: RunDir, begun: Record, path: Path) -> str:
    """The hash of the dataset at `path` as it is now.

    A file of the same size and time is not read again; one that is gone does not matter once
    its rows are stored in the run.
    """
    if not path.exists() and run.plan.rows.exists():
        return begun.identity.dataset
    is_same_file = path == begun.settings.dataset and path.exists()
    if is_same_file and Stamp.of(path) == begun.stamp:
        return begun.identity.dataset
    return dataset_digest(path)
