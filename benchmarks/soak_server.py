"""Soak a server: clients that connect, play, vanish without a word and come back, for as long as you like.

Starts `gamecraft play` with a state folder of its own, and checks while it runs that every session comes back with all
that was acknowledged, that no errors are internal, and how the memory of the server grows. Exit code 1 if anything was
lost. For example:

    python benchmarks/soak_server.py --minutes 20 --clients 3 --output outputs/soak.json
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import psutil

from gamecraft.errors import GameCraftError
from gamecraft.files import write_atomically
from gamecraft.serving.client import Client
from gamecraft.serving.frames import Frame, FrameFlag
from gamecraft.serving.messages import Chunk
from gamecraft.serving.remote_play import RemotePlay

KEYS = ("w", "a", "s", "d", "left", "right", "up", "down")
LOCK = threading.Lock()


@dataclass
class Findings:
    """What was seen; seconds and MiB."""

    frames: int = 0
    chunks: int = 0
    connections: int = 0
    vanished: int = 0
    resumed: int = 0
    lost: list[str] = field(default_factory=list)
    transport: list[float] = field(default_factory=list)
    key_to_frame: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def play_until(end: float, url: str, seed: int, found: Findings) -> None:
    """One client's life."""
    rng = random.Random(seed)
    session: str | None = None
    known = 0
    while time.monotonic() < end:
        try:
            with Client(url) as client, client.play(session) as play:
                with LOCK:
                    found.connections += 1
                    found.resumed += session is not None
                if session is None:
                    session, known = play.start("village", seed=seed).session, 0
                elif play.state is not None and play.state.chunks < known:
                    with LOCK:
                        found.lost.append(f"client {seed}: {play.state.chunks} chunks came back of {known}")
                play.request("play")
                known = _play(play, rng, min(end, time.monotonic() + rng.uniform(5, 30)), known, found)
                if rng.random() < 0.1:
                    play.request("reset")
                    known = 0
                if rng.random() < 0.5:
                    with LOCK:
                        found.vanished += 1
                    play.abort()
        except (GameCraftError, TimeoutError, OSError) as error:
            with LOCK:
                found.lost.append(f"client {seed}: {error}")
        time.sleep(rng.uniform(0, 5))


def _play(play: RemotePlay, rng: random.Random, end: float, known: int, found: Findings) -> int:
    pressed: dict[int, float] = {}
    offset = float("inf")
    while time.monotonic() < end:
        if rng.random() < 0.05:
            keys = rng.sample(KEYS, rng.randint(0, 2))
            pressed[play.hold(keys, look=(rng.uniform(-0.1, 0.1), 0.0))] = time.monotonic()
        try:
            item = play.receive(5.0)
        except TimeoutError:
            continue
        if isinstance(item, Chunk):
            known = item.chunk + 1
            found.chunks += 1
        elif isinstance(item, Frame) and FrameFlag.STILL not in item.flags:
            now = time.monotonic()
            offset = min(offset, now - item.time / 1000)
            with LOCK:
                found.frames += 1
                found.transport.append(now - item.time / 1000 - offset)  # beyond the fastest
                for seq in [seq for seq in pressed if seq <= item.input]:
                    found.key_to_frame.append(now - pressed.pop(seq))
    return known


def watch_memory(process: psutil.Process, end: float, found: Findings) -> None:
    """A measurement every few seconds."""
    while time.monotonic() < end and process.is_running():
        found.memory.append(process.memory_info().rss / 2**20)
        time.sleep(5)


def report(found: Findings, seconds: float, url: str) -> dict[str, object]:
    """Percentiles and growth."""
    metrics = httpx2.get(f"{url}/metrics").text
    internal = re.search(r'gamecraft_errors_total\{code="internal"\} (\S+)', metrics)
    half = len(found.memory) // 2
    values = asdict(found)
    for name in ("transport", "key_to_frame"):
        values[name] = {f"p{p}": round(float(np.percentile(values[name], p)), 4) for p in (50, 95, 99) if values[name]}
    values["memory"] = {
        "first": round(found.memory[0], 1),
        "median_of_first_half": round(float(np.median(found.memory[: half or 1])), 1),
        "median_of_second_half": round(float(np.median(found.memory[half:])), 1),
        "largest": round(max(found.memory), 1),
    }
    return values | {
        "seconds": round(seconds, 1),
        "frames_per_second": round(found.frames / seconds, 2),
        "internal_errors": float(internal[1]) if internal else 0.0,
    }


def main() -> int:
    """Soak and report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    found = Findings()
    with tempfile.TemporaryDirectory() as state:
        model = ["--model", str(args.model)] if args.model else []
        command = [sys.executable, "-m", "gamecraft", "play", "--no-browser", "--port", "0", "--state", state, *model]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            url = next(match[0] for line in server.stderr if (match := re.search(r"http://[\d.]+:\d+", line)))
            threading.Thread(target=server.stderr.read, daemon=True).start()
            with Client(url) as client:
                client.wait_until_ready(600)
            begin = time.monotonic()
            end = begin + args.minutes * 60
            threads = [threading.Thread(target=play_until, args=(end, url, n, found)) for n in range(args.clients)]
            for thread in threads:
                thread.start()
            watch_memory(psutil.Process(server.pid), end, found)
            for thread in threads:
                thread.join()
            result = report(found, time.monotonic() - begin, url)
        finally:
            server.terminate()
            server.wait(60)
    print(json.dumps(result, indent=2))
    if args.output:
        with write_atomically(args.output) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(bool(found.lost or result["internal_errors"]))


if __name__ == "__main__":
    sys.exit(main())
