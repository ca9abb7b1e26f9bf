"""Give each rival a virtual environment of its own, with the versions its folder pins.

python bench/peers/install.py [PEER ...]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = sorted(runner.parent.name for runner in HERE.glob("*/run.py"))


def main() -> None:
    for peer in sys.argv[1:] or PEERS:
        install(peer)


def install(peer: str) -> None:
    """Build the environment anew, unless it has what is pinned."""
    pins = HERE / peer / "requirements.txt"
    ready = folder_of(peer) / "requirements.txt"
    if ready.exists() and ready.read_text() == pins.read_text():
        return
    shutil.rmtree(folder_of(peer), ignore_errors=True)
    run(sys.executable, "-m", "venv", str(folder_of(peer)))
    run(str(python_of(peer)), "-m", "pip", "install", "--quiet", "-r", str(pins))
    shutil.copy(pins, ready)


def folder_of(peer: str) -> Path:
    return HERE / ".venv" / peer


def python_of(peer: str) -> Path:
    return folder_of(peer) / "bin" / "python"


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
