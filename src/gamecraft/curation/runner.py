"""Runs a stage's due units, in this process or in several, with progress."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from gamecraft.curation.store import Stage, Store, Unit, fingerprint
from gamecraft.errors import InputError
from gamecraft.workers import end_with_parent

__all__ = ["Progress", "Runner", "work"]

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the units done and the units in all."""

_QUEUED = 4  # units handed to each process ahead of time


class Runner:
    """Runs stages one after the other on a store; use as a context manager."""

    def __init__(self, store: Store, *, processes: int = 1, on_progress: Progress | None = None) -> None:
        if processes < 1:
            raise InputError(f"processes is {processes}, expected at least 1")
        self.store = store
        self._processes = processes
        self._on_progress = on_progress or (lambda stage, done, total: None)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, stage: Stage, units: Sequence[Unit]) -> None:
        """Bring the results of all units up to date; they are then in the store."""
        due = [unit for unit in units if self.store.finished(stage, unit) is None]
        done = len(units) - len(due)
        self._on_progress(stage.name, done, len(units))
        for _ in self._work(stage, due):
            done += 1
            self._on_progress(stage.name, done, len(units))

    def _work(self, stage: Stage, due: Sequence[Unit]) -> Iterator[None]:
        """Do the due units, in any order; yields after each."""
        if self._processes == 1 or len(due) < 2:
            for unit in due:
                work(stage, unit, self.store.folder)
                yield
            return
        if self._pool is None:
            # Forked processes would share the threads' locks of the libraries that are already loaded.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, spawn, initializer=end_with_parent)
        waiting = list(reversed(due))
        running: set[Future[None]] = set()
        while waiting or running:
            while waiting and len(running) < _QUEUED * self._processes:
                running.add(self._pool.submit(work, stage, waiting.pop(), self.store.folder))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                yield


def work(stage: Stage, unit: Unit, folder: Path) -> None:
    """Process one unit and keep the result; what cannot be read is rejected instead."""
    import cv2

    # The processes are the parallelism; threads of small pictures' work would only wait for one another.
    cv2.setNumThreads(1)
    store = Store(folder)
    started = time.process_time()
    try:
        result = stage.process(unit, store)
    except InputError as error:
        result = {"rejected": ["unreadable", str(error)]}
    seconds = round(time.process_time() - started, 3)
    store.write(stage.name, unit.name, {"fingerprint": fingerprint(stage, unit), "seconds": seconds, **result})
