"""The tables of `journal.db`: their form, the statements on them, and who may connect.

A call without `ended_at` was begun and its end never committed: it may have been billed, and
counts as having cost all that was `reserved` for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from mergeit_async.errors import StoppedError, UsageError
from mergeit_async.records import ChatReply, Example, Outcome, Status, TokenChoice

SCHEMA_VERSION = 3

SCHEMA = f"""
BEGIN;
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    request_key TEXT NOT NULL,
    begun_at REAL NOT NULL,
    reserved REAL NOT NULL,
    ended_at REAL,
    result TEXT,
    http_status INTEGER,
    detail TEXT,
    cost REAL,
    lane TEXT,
    latency_s REAL,
    scores TEXT
);
-- Rows in the order in which they come: by their keys, which are random, each would touch a page
-- of its own.
CREATE TABLE replies (
    request_key TEXT NOT NULL,
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cached_tokens INTEGER,
    choices TEXT
);
CREATE UNIQUE INDEX reply_of_request ON replies (request_key);
CREATE TABLE outcomes (
    position INTEGER PRIMARY KEY,
    group_id TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT,
    detail TEXT,
    instruction TEXT,
    input TEXT,
    output TEXT,
    scores TEXT
);
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

BEGIN_CALL = (
    "INSERT INTO calls (id, position, sample, request_key, begun_at, reserved)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
END_CALL = (
    "UPDATE calls SET ended_at = ?, result = ?, http_status = ?, detail = ?, cost = ?, lane = ?,"
    " latency_s = ?, scores = ? WHERE id = ?"
)
# The first reply counts, in this session as in each later one.
ADD_REPLY = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)"
ADD_OUTCOME = "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
DROP_OUTCOME = "DELETE FROM outcomes WHERE position = ?"
# What a session left open when it was killed is told apart from what the next has under way.
LEAVE_OPEN = "UPDATE calls SET result = 'unknown' WHERE ended_at IS NULL AND result IS NULL"
REPLY = (
    "SELECT text, finish_reason, prompt_tokens, completion_tokens, cached_tokens, choices"
    " FROM replies WHERE request_key = ?"
)
FINISHED = "SELECT position FROM outcomes"
SPENT = "SELECT coalesce(sum(coalesce(cost, reserved)), 0.0) FROM calls"
NEXT_CALL = "SELECT coalesce(max(id), 0) + 1 FROM calls"
OUTCOMES = "SELECT * FROM outcomes ORDER BY position"
HAS_REPLIES = "SELECT EXISTS (SELECT 1 FROM replies)"
HAS_ENTRIES = "SELECT EXISTS (SELECT 1 FROM calls) OR EXISTS (SELECT 1 FROM outcomes)"
# Groups that got no usable reply: the calls failed, or the server judged the payload.
UNANSWERED = "(status = 'failed' OR reason IN ('context_length', 'content_filter'))"
ONLY_FAILURES = (
    "SELECT reason || ': ' || detail FROM outcomes WHERE NOT EXISTS"
    f" (SELECT 1 FROM outcomes WHERE NOT coalesce({UNANSWERED}, 0)) ORDER BY position DESC LIMIT 1"
)
FAILED = "SELECT position FROM outcomes WHERE status = 'failed'"
FORGET_ALL = "DELETE FROM outcomes"

# What SQLite says of a file that is not whole; ERROR stands for tables or columns that are not
# there. The lower byte of an error's code is the kind (sqlite.org/rescode.html).
OF_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
PRIMARY = 0xFF

Values = tuple[Any, ...]


def connect_writer(path: Path) -> sqlite3.Connection:
    """The connection that may write; makes the tables of a new file.

    Raises `UsageError` when the file is damaged or no journal of this version, and `StoppedError`
    when the disk does not let it be used.
    """
    with readable(path):
        return open_writer(path)


def open_writer(path: Path) -> sqlite3.Connection:
    """The same connection, for who knows the file; raises what SQLite says."""
    connection = sqlite3.connect(path, check_same_thread=False, timeout=10)
    try:
        # The tables first: where there is no room for them, the file is left without content.
        if version_of(connection) == 0:
            connection.executescript(SCHEMA)
        checked(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # The index of the log is made by the first who looks into it.
        version_of(connection)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, beside a writer if there is one; errors as above."""
    if not path.is_file():
        raise UsageError(f"There is no journal at {path}; name the directory of a run.")
    address = f"{path.absolute().as_uri()}?mode=ro"
    with readable(path):
        connection = sqlite3.connect(address, uri=True, check_same_thread=False, timeout=10)
        try:
            return checked(connection, path)
        except sqlite3.DatabaseError:
            connection.close()
            raise


def read_outcomes(connection: sqlite3.Connection) -> Iterator[Outcome]:
    """All outcomes in the order of the plan."""
    for position, group_id, status, attempts, reason, detail, *fields, scores in connection.execute(
        OUTCOMES
    ):
        merged = Example(*fields) if fields[0] is not None else None
        found = orjson.loads(scores) if scores is not None else None
        yield Outcome(position, group_id, Status(status), attempts, merged, reason, detail, found)


def has_replies(connection: sqlite3.Connection) -> bool:
    """Whether any reply was paid for."""
    return bool(connection.execute(HAS_REPLIES).fetchone()[0])


def forget_all(connection: sqlite3.Connection) -> None:
    """Drop all outcomes, so that every group runs again; replies stay."""
    with connection:
        connection.execute(FORGET_ALL)


def has_entries(connection: sqlite3.Connection) -> bool:
    """Whether any call was begun or any group has ended."""
    return bool(connection.execute(HAS_ENTRIES).fetchone()[0])


def has_outcomes(connection: sqlite3.Connection) -> bool:
    """Whether any group has ended."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM outcomes)").fetchone()[0])


def has_only_failures(connection: sqlite3.Connection) -> str | None:
    """The last reason of a run in which every group failed; None for any other run."""
    found: tuple[str] | None = connection.execute(ONLY_FAILURES).fetchone()
    return found[0] if found else None


def reply_values(request_key: str, reply: ChatReply) -> Values:
    """A reply as a row of its table."""
    return (
        request_key,
        reply.text,
        reply.finish_reason,
        reply.prompt_tokens,
        reply.completion_tokens,
        reply.cached_tokens,
        as_json([[choice.token, dict(choice.logprobs)] for choice in reply.choices] or None),
    )


def read_reply(values: Sequence[Any]) -> ChatReply:
    """A reply from what REPLY selects."""
    *plain, choices = values
    reply = ChatReply(*plain)
    if choices is None:
        return reply
    found = (TokenChoice(token, logprobs) for token, logprobs in orjson.loads(choices))
    return reply._replace(choices=tuple(found))


def as_json(value: Any) -> str | None:
    """A value as the text of a column; None stays as it is."""
    return None if value is None else orjson.dumps(value).decode()


def outcome_values(outcome: Outcome) -> Values:
    """An outcome as a row of its table."""
    merged = outcome.merged
    fields = (merged.instruction, merged.input, merged.output) if merged else (None, None, None)
    return (
        outcome.position,
        outcome.group_id,
        outcome.status.value,
        outcome.attempts,
        outcome.reason,
        outcome.detail,
        *fields,
        as_json(outcome.scores),
    )


def checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The connection, if its file has the version that this code reads."""
    version = version_of(connection)
    if version == SCHEMA_VERSION:
        return connection
    connection.close()
    raise UsageError(
        f"The journal {path} has format {version}, this version reads {SCHEMA_VERSION}; use the "
        "version of mergeit_async that began the run."
    )


def version_of(connection: sqlite3.Connection) -> int:
    """The format of a journal; 0 for a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file that it cannot use into an error of ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise refusal(path, error) from error


def refusal(path: Path, error: sqlite3.DatabaseError) -> StoppedError | UsageError:
    """The error for a file that SQLite refuses: damage and the ways out, or its disk's fault."""
    # What Python itself refuses has no code: text that is not UTF-8.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:
        # No room for its index of 32 KB: SQLite calls that an I/O error.
        return unusable(path, "database or disk is full")
    if code & PRIMARY not in OF_DAMAGE:
        return unusable(path, error)
    return UsageError(
        f"The journal {path} is damaged ({error}); put a copy in its place, or what "
        f"`sqlite3 {path.name} .recover` saves of it. Moved away, `resume` keeps the plan and asks "
        "for all merges again."
    )


def unusable(path: Path, why: object) -> StoppedError:
    """The error for a journal whose disk is in the way."""
    return StoppedError(f"The journal {path} cannot be used ({why}); make room or mend the disk.")
