"""Runs a stage's due units on a Ray cluster (Ray Data); everything else about curation stays as it is.

The store decides what is due, as on one machine, so that a node or a whole cluster that goes down costs the units it
was at: Ray tries them again, or the next run does, and a unit that is done twice writes the same file twice. Recordings
and dataset must lie where every node finds them under the same path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from gamecraft.curation.extras import require
from gamecraft.curation.runner import Progress, Runner, work
from gamecraft.curation.store import Stage, Store, Unit
from gamecraft.errors import GameCraftError

__all__ = ["RayRunner"]

# Ray keeps books of every block; more of them than this only cost, and a failing node loses no more than one.
_MAX_BLOCKS = 10_000


class RayRunner(Runner):
    """As ``Runner``, with the units spread over a cluster.

    Args:
        address: of a running cluster, ``auto`` for the one this machine belongs to, ``local`` for a new one on this
            machine alone.

    Raises:
        GameCraftError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, store: Store, address: str, *, on_progress: Progress | None = None) -> None:
        super().__init__(Store(store.folder.resolve()), on_progress=on_progress)
        self._ray = require("ray", "curation on a cluster", "gamecraft[cluster]")
        self._data = require("ray.data", "curation on a cluster", "gamecraft[cluster]")
        self._own = not self._ray.is_initialized()
        if self._own:
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level="error")
            except (ConnectionError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise GameCraftError(f"no Ray cluster at {address!r}: {reason}; start one with `ray start`") from None
        context = self._data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._ray.shutdown()

    def _work(self, stage: Stage, due: Sequence[Unit]) -> Iterator[None]:
        if not due:
            return
        folder = str(self.store.folder)

        def do(row: dict[str, str]) -> dict[str, str]:
            unit = Unit(**json.loads(row["unit"]))
            try:
                work(stage, unit, Path(folder))
            except (GameCraftError, OSError) as error:  # a missing library, no model, a full disk
                return {"error": str(error)}
            return {"error": ""}

        # As text, since a table of nested values would give every unit the fields of all.
        rows = [{"unit": json.dumps(asdict(unit))} for unit in due]
        units = self._data.from_items(rows, override_num_blocks=min(len(due), _MAX_BLOCKS))
        for row in units.map(do).iter_rows():
            if row["error"]:
                raise GameCraftError(row["error"])
            yield
