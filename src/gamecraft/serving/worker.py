"""The one thread that uses the model, and who uses it next.

Whoever has had a turn goes to the end of the line, so players that share a model get equally many chunks.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

__all__ = ["ModelWorker"]

_T = TypeVar("_T")
_Turn = tuple[asyncio.Future[Any], Callable[[], Any]]


class ModelWorker:
    """Runs functions in one thread, one after the other, taking the owners in turn. Used from one event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._lines: OrderedDict[str, deque[_Turn]] = OrderedDict()
        self._running = False

    @property
    def waiting(self) -> int:
        """Turns that have not begun."""
        return sum(len(line) for line in self._lines.values())

    async def run(self, owner: str, work: Callable[[], _T]) -> _T:
        """The result of ``work``, when it is the owner's turn; the turns of one owner keep their order.

        A caller that is cancelled before its turn loses it; once begun, work runs to its end.
        """
        turn: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(owner, deque()).append((turn, work))
        self._next()
        return await turn

    def close(self) -> None:
        """Begin no more turns; waits for the running one."""
        for line in self._lines.values():
            for turn, _ in line:
                turn.cancel()
        self._lines.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _next(self) -> None:
        while self._lines and not self._running:
            owner, line = self._lines.popitem(last=False)
            turn, work = line.popleft()
            if line:
                self._lines[owner] = line  # at the end: the others first
            if turn.cancelled():
                continue
            self._running = True
            running = asyncio.get_running_loop().run_in_executor(self._thread, work)
            running.add_done_callback(partial(self._done, turn))

    def _done(self, turn: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        self._running = False
        if done.cancelled():
            turn.cancel()
        elif error := done.exception():
            if not turn.done():
                turn.set_exception(error)
        elif not turn.done():
            turn.set_result(done.result())
        self._next()
