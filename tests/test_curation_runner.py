"""Several processes at work."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SLEEPER = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from gamecraft.curation.runner import Runner
from gamecraft.curation.store import Store, Unit

@dataclass(frozen=True, kw_only=True)
class Sleep:
    name = "sleep"
    version = 1

    def process(self, unit, store):
        (store.folder / f"{os.getpid()}.pid").touch()
        time.sleep(60)
        return {}

if __name__ == "__main__":
    with Runner(Store(Path(sys.argv[1])), processes=2) as runner:
        runner.run(Sleep(), [Unit(name=str(number), inputs={}) for number in range(2)])
"""


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked about is still there by its number."""
    try:
        os.kill(process, 0)
        return sys.platform != "linux" or ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true; whether it became so."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    run = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    assert until(lambda: len(list(tmp_path.glob("*.pid"))) == 2, seconds=60)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    run.kill()
    run.wait()
    assert until(lambda: not any(map(alive, workers)), seconds=20)
