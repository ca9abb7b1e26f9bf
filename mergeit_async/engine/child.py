"""A process of our own at the other end of a socket, which outlives no run for long.

It ends when its end of the socket is closed, also by the death of the run, and not by what a
terminal sends: that is the run's to handle.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack


def spawn(program: str, *arguments: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Our end of the socket, and the process that runs `program DESCRIPTOR ARGUMENTS…`."""
    ours, theirs = socket.socketpair()
    with ExitStack() as on_error, theirs:
        on_error.enter_context(ours)
        process = subprocess.Popen(
            # It imports what this process imports, and nothing that lies in the directory it is in.
            [sys.executable, "-P", "-m", program, str(theirs.fileno()), *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Ctrl-C in a terminal, or its end, is the run's to handle.
            start_new_session=True,
        )
        on_error.pop_all()
    return ours, process


def ignore_signals() -> None:
    """Whatever ends the run, this process still has to finish what it was given."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
