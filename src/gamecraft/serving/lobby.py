"""Places for players, and the line before them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gamecraft.errors import GameCraftError

__all__ = ["FullError", "Lobby"]

OnPosition = Callable[[int, int], None]
"""Called with the position in the line, from 1, and its length."""


class FullError(GameCraftError):
    """All places are taken, and the line is as long as it may be."""


class Lobby:
    """Lets ``places`` players in at a time, the others in the order they came. Used from one event loop."""

    def __init__(self, places: int, max_waiting: int) -> None:
        self.playing = 0
        self._places, self._max_waiting = places, max_waiting
        self._line: list[tuple[asyncio.Event, OnPosition]] = []

    @property
    def waiting(self) -> int:
        """Players in the line."""
        return len(self._line)

    @asynccontextmanager
    async def place(self, on_position: OnPosition) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Raises:
            FullError: the line is full.
        """
        if self.playing < self._places and not self._line:
            self.playing += 1
        else:
            await self._wait(on_position)
        try:
            yield
        finally:
            self.playing -= 1
            self._let_in()

    async def _wait(self, on_position: OnPosition) -> None:
        if len(self._line) >= self._max_waiting:
            raise FullError("the server is full; try again later")
        turn = (asyncio.Event(), on_position)
        self._line.append(turn)
        on_position(len(self._line), len(self._line))
        try:
            await turn[0].wait()
        except asyncio.CancelledError:
            if turn in self._line:
                self._line.remove(turn)
                self._tell()
            else:  # let in at this very moment
                self.playing -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self._line and self.playing < self._places:
            event, _ = self._line.pop(0)
            self.playing += 1
            event.set()
        self._tell()

    def _tell(self) -> None:
        for position, (_, on_position) in enumerate(self._line, start=1):
            on_position(position, len(self._line))
