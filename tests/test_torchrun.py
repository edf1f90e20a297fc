"""The command line under the real torchrun: two processes make one video, and one that dies ends the other."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from gamecraft.video import read_video

LONG = 600  # seconds, on a busy machine
GUIDED = ("--guidance", "2", "--prompt", "a village", "--negative-prompt", "a night")


@contextmanager
def started(folder: Path, model: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Two processes, of which none outlives the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port), "-m", "gamecraft"]
    command = ["generate", "--model", str(model), "--image", "village", "--output", "two.mp4", "--device", "cpu"]
    run = subprocess.Popen(
        [sys.executable, *launcher, *command, "--ulysses", "2", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield run
    finally:
        if run.poll() is None:
            launched = psutil.Process(run.pid)
            for process in (*launched.children(recursive=True), launched):
                process.kill()
            run.communicate()


def rank_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("RANK")
    except psutil.Error:  # it has ended meanwhile
        return None


def test_two_processes_make_one_video(model_folder: Path, tmp_path: Path) -> None:
    with started(tmp_path, model_folder, "--actions", "w 7f", *GUIDED) as run:
        out, errors = run.communicate(timeout=LONG)
    assert run.returncode == 0, errors
    assert out.count("two.mp4: 7 frames") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"two.mp4", "two.png", "two.json"}
    assert len(read_video(tmp_path / "two.mp4")[0]) == 7


def test_what_is_wrong_is_said_once(model_folder: Path, tmp_path: Path) -> None:
    with started(tmp_path, model_folder) as run:
        _, errors = run.communicate(timeout=LONG)
    assert errors.count("gamecraft generate: --actions is missing") == 1
    # torchrun's summary: its own exit code is 1 whatever its processes say, and it may end the second one itself
    assert errors.count("exitcode  : 2") in (1, 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process by its environment")
def test_a_process_that_dies_ends_the_other(model_folder: Path, tmp_path: Path) -> None:
    with started(tmp_path, model_folder, "--actions", "w 600f", "--steps", "200", *GUIDED) as run:
        deadline = time.monotonic() + LONG
        while not list(tmp_path.glob("*.session.safetensors")):  # until a chunk is done
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (rank,) = [child for child in psutil.Process(run.pid).children(recursive=True) if rank_of(child) == "1"]
        rank.send_signal(signal.SIGKILL)
        _, errors = run.communicate(timeout=LONG)
    assert run.returncode != 0
    assert "gamecraft generate: process 0 of 2 lost another one, which ended or stopped answering" in errors
    assert "Signal 9 (SIGKILL)" in errors  # torchrun says which one it was
    assert not (tmp_path / "two.mp4").exists()
