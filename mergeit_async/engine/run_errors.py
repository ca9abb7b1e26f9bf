"""What goes wrong in a run, as one error of ours with a sentence for a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.tables import refusal
from mergeit_async.errors import MergeItError, StoppedError


@contextmanager
def readable_errors(run: RunDir) -> Iterator[None]:
    """One error of ours instead of a group of them, or of the disk's; bugs pass as they are."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoppedError(str(refusal(run.journal, error))) from error
    except (ExceptionGroup, OSError) as error:
        causes = list(leaves(error))
        ours = [cause for cause in causes if isinstance(cause, MergeItError)]
        for cause in causes:
            if isinstance(cause, sqlite3.DatabaseError):
                raise StoppedError(str(refusal(run.journal, cause))) from error
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
