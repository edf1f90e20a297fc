"""What `play` and `serve` show until somebody can play."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Startup", "startup_progress"]

_STAGES = ("loading the libraries", "loading the model", "warming up", "ready")


class Startup:
    """Shows the stages on the terminal with the time they take; without a terminal, only the first and the last."""

    def __init__(self, command: str, show: Callable[[int, str], None]) -> None:
        self._command, self._show = command, show
        self._began, self._ended = time.monotonic(), threading.Event()
        print(f"gamecraft {command}: loading the model ...", file=sys.stderr, flush=True)
        show(0, _STAGES[0])

    def follow(self, loaded: Callable[[], int], failure: Callable[[], str | None]) -> None:
        """Watch, in a thread of its own, until the model is loaded and warm, or has failed.

        Args:
            loaded: steps that are done, 0 to 2.
            failure: why there will be no model, or None.
        """

        def watch() -> None:
            while (done := loaded()) < len(_STAGES) - 2 and failure() is None and not self._ended.is_set():
                self._show(done + 1, _STAGES[done + 1])
                self._ended.wait(0.2)
            self._finish(failure())

        threading.Thread(target=watch, daemon=True, name="startup").start()

    def end(self) -> None:
        """The server stops, ready or not."""
        self._ended.set()

    def _finish(self, failure: str | None) -> None:
        self._show(len(_STAGES) - 1, _STAGES[-1])
        if not self._ended.is_set():
            text = failure or f"ready after {time.monotonic() - self._began:.1f} s"
            print(f"gamecraft {self._command}: {text}", file=sys.stderr, flush=True)


@contextmanager
def startup_progress(command: str) -> Iterator[Startup]:
    """A bar on the terminal, for the time of a block that starts a server and runs it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(_STAGES[0], total=len(_STAGES) - 1)

        def show(stage: int, text: str) -> None:
            bar.update(task, completed=stage, description=text)
            if stage == len(_STAGES) - 1:
                bar.stop()

        startup = Startup(command, show)
        try:
            yield startup
        finally:
            startup.end()
