"""The lock of a directory of prompts: which versions are released, by the hashes of their files.

lock.toml lies beside the tasks, is read by people and reviewed in git:

    ["merge/v1"]
    hash = "…"              the version's, as run.toml and the lineage name it

    ["merge/v1".files]
    "system.md" = "…"       one line a file
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mergeit_async.errors import UsageError
from mergeit_async.ids import digest

LOCK = "lock.toml"
ABSENT = "absent"

_HEAD = """\
# Released prompt versions. Their files never change: a run's results are known by these hashes.
# A change goes into a new version: python -m mergeit_async prompts new NAME --from NAME
# Written by: python -m mergeit_async prompts lock NAME --prompts DIR
"""


class Locked(BaseModel):
    """One released version: its hash, and that of each of its files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    hash: str
    files: Mapping[str, str]


Lock = Mapping[str, Locked]


class Change(NamedTuple):
    """A file that is not as it was locked: both hashes, `ABSENT` where there is none."""

    file: str
    locked: str
    actual: str


def read_lock(root: Path) -> Lock:
    """The released versions of the prompts in `root` by name; none where there is no lock.

    Raises UsageError for a lock that is damaged.
    """
    path = root / LOCK
    try:
        return _LOCKS.validate_python(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; correct that.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path}: {key}: {first['msg']}; restore the file, e.g. by git."
        ) from error
    except ValueError as error:  # of TOML or UTF-8
        raise UsageError(f"{path} is damaged: {error}; restore the file, e.g. by git.") from error


def write_lock(lock: Lock) -> str:
    """The text of lock.toml."""
    tables = [_HEAD]
    for name, locked in sorted(lock.items()):
        files = [f'"{file}" = "{hash_}"' for file, hash_ in sorted(locked.files.items())]
        table = [f'["{name}"]', f'hash = "{locked.hash}"', "", f'["{name}".files]', *files]
        tables.append("\n".join(table) + "\n")
    return "\n".join(tables)


def lock_texts(texts: Mapping[str, str]) -> Locked:
    """What to write down of a version with these files."""
    files = {file: hash_text(text) for file, text in texts.items()}
    return Locked(hash=hash_texts(texts), files=files)


def find_change(texts: Mapping[str, str], locked: Locked) -> Change | None:
    """The first file that is not as it was locked; None where all are."""
    for file in sorted(texts.keys() | locked.files.keys()):
        actual = hash_text(texts[file]) if file in texts else ABSENT
        if actual != (expected := locked.files.get(file, ABSENT)):
            return Change(file, expected, actual)
    if (actual := hash_texts(texts)) != locked.hash:
        return Change(LOCK, locked.hash, actual)
    return None


def hash_texts(texts: Mapping[str, str]) -> str:
    """The identity of a version: names and bytes of all its files, prompt.toml included."""
    return digest(sorted(texts.items()))


def hash_text(text: str) -> str:
    """The identity of one file by its bytes."""
    return digest(text)


_LOCKS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Locked])
