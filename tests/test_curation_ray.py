"""The same stages on Ray: the same results, also when a worker dies, and the same one-line errors."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from curation_material import LENS, pan, write_raw
from gamecraft.curation.curate import curate
from gamecraft.curation.runner import Runner
from gamecraft.curation.settings import load_settings
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.errors import GameCraftError

ray = pytest.importorskip("ray")

SETTINGS = [
    "split.frames=12", "picture.sharpness=0.02", "text.samples=0", "poses.source=recorded", "write.clips=2",
    "write.width=80", "write.height=48", f"lens.fx={LENS.fx}", f"lens.fy={LENS.fy}",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One small cluster for all tests: starting one takes seconds."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find the tests
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    yield
    ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts how often each unit is done, in files; the first try at ``fatal`` ends its process."""

    name: ClassVar[str] = "counting"
    version: ClassVar[int] = 1

    fatal: str = ""
    broken: str = ""

    def process(self, unit: Unit, store: Store) -> Result:
        tries = store.folder / "tries" / unit.name
        tries.mkdir(parents=True, exist_ok=True)
        (tries / str(len(list(tries.iterdir())))).touch()
        if unit.name == self.fatal and len(list(tries.iterdir())) == 1:
            os._exit(1)
        if unit.name == self.broken:
            raise GameCraftError("counting needs fingers; grow some")
        return {"inputs": unit.inputs}


def tries(store: Store) -> dict[str, int]:
    """How often each unit was begun."""
    return {path.name: len(list(path.iterdir())) for path in (store.folder / "tries").iterdir()}


def units() -> list[Unit]:
    """Units whose inputs have different fields, and values that tables like to change."""
    return [Unit(name=f"u{i}", inputs={f"field{i}": [None, 0.1 + i, {"a": [i]}]}) for i in range(5)]


def on_ray(store: Store) -> Runner:
    from gamecraft.curation.ray_runner import RayRunner

    return RayRunner(store, "local")


def test_every_unit_is_done_once_though_a_worker_dies(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), Counting(fatal="u3")
    with on_ray(store) as runner:
        runner.run(stage, units())
        # The unit at hand is begun again, no other; and nothing is left to do.
        assert tries(store) == {"u0": 1, "u1": 1, "u2": 1, "u3": 2, "u4": 1}
        runner.run(stage, units())
    assert sum(tries(store).values()) == 6
    for unit in units():
        result = store.finished(stage, unit)
        assert result is not None
        assert result["inputs"] == unit.inputs


def test_an_error_over_there_is_the_error_here(tmp_path: Path) -> None:
    with on_ray(Store(tmp_path)) as runner, pytest.raises(GameCraftError, match="grow some"):
        runner.run(Counting(broken="u1"), units())


def test_the_dataset_is_that_of_one_machine(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw", "walk", np.concatenate([pan(1, 26), pan(2, 26)]))
    settings = load_settings(None, SETTINGS)
    assert curate([tmp_path / "raw"], tmp_path / "here", settings) == 4
    assert curate([tmp_path / "raw"], tmp_path / "there", settings, ray="local") == 4
    here, there = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("shards/*/*")}
        for folder in (tmp_path / "here", tmp_path / "there")
    )
    assert here == there
