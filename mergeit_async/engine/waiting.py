"""Waiting that can be ended from outside, for all who wait and all who will."""

from __future__ import annotations

import asyncio


class Room:
    """Where tasks wait for their turn until the room is closed with an error."""

    def __init__(self) -> None:
        self._inside: set[asyncio.Future[None]] = set()
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self) -> asyncio.Future[None]:
        """A future that whoever opens the way resolves; fails once the room is closed."""
        if self._error is not None:
            raise self._error
        turn = asyncio.get_running_loop().create_future()
        self._inside.add(turn)
        turn.add_done_callback(self._inside.discard)
        return turn

    async def sleep(self, seconds: float) -> None:
        """Wait that long, or until the room is closed."""
        turn = self.enter()
        timer = asyncio.get_running_loop().call_later(seconds, resolve, turn)
        try:
            await turn
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Let all out."""
        for turn in list(self._inside):
            resolve(turn)

    def close(self, error: BaseException) -> None:
        """Raise `error` in all who wait, and in all who will."""
        self._error = error
        for turn in list(self._inside):
            if not turn.done():
                turn.set_exception(error)


def resolve(turn: asyncio.Future[None]) -> None:
    """End a wait, if it has not ended yet."""
    if not turn.done():
        turn.set_result(None)
