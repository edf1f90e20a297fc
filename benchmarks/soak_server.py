"""Soak a server: clients come, play, vanish without a word and come back, while the server is killed and started.

Starts `gamecraft play` with a state folder of its own. Checked while it runs: every session comes back with all that
was saved by hand, and with all that was played until shortly before a kill; no error is internal. Checked at the end:
nobody holds a place, all sessions are out of memory, every file belongs to a session that a client began, and the
server's memory has not grown beyond `--bound` since a third of the last uninterrupted stretch. Exit code 1 otherwise.

    python benchmarks/soak_server.py --minutes 20 --clients 3 --kills 2 --output outputs/soak.json
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
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
KILLS_WITHIN = 0.3  # of the time, so that memory is measured over a long stretch
UNSAVED_SECONDS = 15.0  # of play that a kill may cost: the saving interval, and the writing on a busy machine
PARKED_SECONDS = 90.0  # for sessions to leave memory once nobody plays
SAMPLE_SECONDS = 2.0
LOCK = threading.Lock()


@dataclass
class Findings:
    """What was seen; seconds and MiB."""

    frames: int = 0
    chunks: int = 0
    connections: int = 0
    vanished: int = 0
    resumed: int = 0
    kills: int = 0
    wrong: list[str] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    transport: list[float] = field(default_factory=list)
    key_to_frame: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # of the newest server

    def complain(self, text: str) -> None:
        """Note something that must not be."""
        with LOCK:
            self.wrong.append(text)


class Server:
    """A server process that can be killed and started again with the same port and state folder."""

    def __init__(self, state: str, options: list[str]) -> None:
        self._command = [sys.executable, "-m", "gamecraft", "play", "--no-browser", "--state", state, *options]
        self.killed_at = float("-inf")
        self.up = threading.Event()
        self._port = "0"
        self.start()

    def start(self) -> None:
        """Start; returns when the model is loaded."""
        self.process = subprocess.Popen([*self._command, "--port", self._port], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        found = (re.search(r"(http://[\d.]+:(\d+))", line) for line in self.process.stderr)
        match = next(one for one in found if one)
        self.url, self._port = match[1], match[2]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        with Client(self.url) as client:
            client.wait_until_ready(900)
        self.psutil = psutil.Process(self.process.pid)
        self.up.set()

    def kill(self) -> None:
        """End it as a power cut would, and start it again."""
        self.up.clear()
        self.killed_at = time.monotonic()
        self.process.kill()
        self.process.wait()
        self.start()


class Player:
    """One client's life."""

    def __init__(self, server: Server, seed: int, end: float, found: Findings) -> None:
        self._server, self._seed, self._end, self._found = server, seed, end, found
        self._rng = random.Random(seed)
        self._session: str | None = None
        self._saved = 0  # chunks that were saved by hand
        self._known: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=5000)  # when so many chunks had been seen

    def run(self) -> None:
        """Come and go until the end."""
        while time.monotonic() < self._end:
            self._server.up.wait()
            began = time.monotonic()
            try:
                with Client(self._server.url) as client, client.play(self._session) as play:
                    self._arrive(play)
                    play.request("play")
                    self._play(play, min(self._end, time.monotonic() + self._rng.uniform(5, 30)))
                    self._leave(play)
            except (GameCraftError, TimeoutError, OSError) as error:
                if self._server.killed_at < began and self._server.up.is_set():
                    self._found.complain(f"client {self._seed}: {error}")
            time.sleep(self._rng.uniform(0.5, 5))

    def _arrive(self, play: RemotePlay) -> None:
        with LOCK:
            self._found.connections += 1
            self._found.resumed += self._session is not None
        if self._session is None:
            self._session = play.start("village", seed=self._seed).session
            with LOCK:
                self._found.sessions.add(self._session)
            return
        assert play.state is not None
        (when, known), killed = self._known[-1], self._server.killed_at
        must = known if killed < when - 1 else max(self._saved, self._floor(killed - UNSAVED_SECONDS))
        if play.state.chunks < must:
            self._found.complain(f"client {self._seed}: {play.state.chunks} chunks came back of {must}")
        self._forget(play.state.chunks)

    def _floor(self, moment: float) -> int:
        """Chunks that had been seen by then."""
        return max([chunks for when, chunks in self._known if when <= moment], default=0)

    def _forget(self, chunks: int) -> None:
        self._known.clear()
        self._known.append((time.monotonic(), chunks))

    def _play(self, play: RemotePlay, end: float) -> None:
        pressed: dict[int, float] = {}
        offset = float("inf")
        while time.monotonic() < end:
            if self._rng.random() < 0.05:
                keys = self._rng.sample(KEYS, self._rng.randint(0, 2))
                pressed[play.hold(keys, look=(self._rng.uniform(-0.1, 0.1), 0.0))] = time.monotonic()
            try:
                item = play.receive(5.0)
            except TimeoutError:
                continue
            now = time.monotonic()
            if isinstance(item, Chunk):
                self._known.append((now, item.chunk + 1))
                with LOCK:
                    self._found.chunks += 1
            elif isinstance(item, Frame) and FrameFlag.STILL not in item.flags:
                offset = min(offset, now - item.time / 1000)
                with LOCK:
                    self._found.frames += 1
                    self._found.transport.append(now - item.time / 1000 - offset)  # beyond the fastest
                    for seq in [seq for seq in pressed if seq <= item.input]:
                        self._found.key_to_frame.append(now - pressed.pop(seq))

    def _leave(self, play: RemotePlay) -> None:
        if self._rng.random() < 0.3:
            known = self._known[-1][1]  # the server may have made more by now, which are saved as well
            play.request("save")
            self._saved = known
        if self._rng.random() < 0.1:
            self._saved = 0
            play.request("reset")
            self._forget(0)
        if self._rng.random() < 0.5:
            with LOCK:
                self._found.vanished += 1
            play.abort()


def look_after(server: Server, begin: float, end: float, kills: int, found: Findings) -> None:
    """Measure memory, and kill the server now and then."""
    due = deque(begin + (end - begin) * KILLS_WITHIN * (index + 1) / kills for index in range(kills))
    while (now := time.monotonic()) < end:
        if due and now >= due[0]:
            due.popleft()
            server.kill()
            found.kills += 1
            found.memory.clear()
        elif server.process.poll() is not None:
            found.complain(f"the server ended by itself with code {server.process.returncode}")
            return
        found.memory.append(server.psutil.memory_info().rss / 2**20)
        time.sleep(SAMPLE_SECONDS)


def inspect_the_end(server: Server, state: Path, found: Findings) -> dict[str, float]:
    """Nobody and nothing is left over; what the metrics say then."""
    watched = ("players", "waiting", "sessions_in_memory", "turns_waiting", "jobs")
    end = time.monotonic() + PARKED_SECONDS
    while True:
        text = httpx2.get(f"{server.url}/metrics").text
        values = dict(re.findall(r"^gamecraft_(\w+) (\S+)$", text, re.MULTILINE))
        left = {name: float(values.get(name, "nan")) for name in watched}
        if not any(left.values()) or time.monotonic() > end:
            break
        time.sleep(1)
    found.wrong += [f"at the end there are {count:g} {name}" for name, count in left.items() if count != 0]
    internal = re.search(r'gamecraft_errors_total\{code="internal"\} (\S+)', text)
    if internal and float(internal[1]):
        found.wrong.append(f"{internal[1]} internal errors")
    files = (path.name for path in (state / "sessions").iterdir())
    strangers = sorted(name for name in files if name.split(".")[0] not in found.sessions)
    found.wrong += [f"the file {name} belongs to no session" for name in strangers]
    with Client(server.url) as client:
        listed = {session.session for session in client.sessions()}
    found.wrong += [f"session {session} is lost" for session in sorted(found.sessions - listed)]
    return left


def report(found: Findings, seconds: float, bound: float, left: dict[str, float]) -> dict[str, Any]:
    """Percentiles and growth."""
    memory = found.memory[len(found.memory) // 3 :]
    half = len(memory) // 2 or 1
    early, late = (round(float(np.median(part)), 1) for part in (memory[:half], memory[half:] or memory))
    if late - early > bound:
        found.wrong.append(f"memory grew from {early} to {late} MiB, the bound is {bound:g}")
    spread = {
        name: {f"p{p}": round(float(np.percentile(values, p)), 4) for p in (50, 95, 99)} if values else {}
        for name, values in (("transport", found.transport), ("key_to_frame", found.key_to_frame))
    }
    counts = ("frames", "chunks", "connections", "vanished", "resumed", "kills")
    return {
        "seconds": round(seconds, 1),
        **{name: getattr(found, name) for name in counts},
        "sessions": len(found.sessions),
        "frames_per_second": round(found.frames / seconds, 2),
        **spread,
        "memory": {"early": early, "late": late, "largest": round(max(found.memory), 1), "bound": bound},
        "left_at_the_end": left,
        "wrong": found.wrong,
    }


def soak(args: argparse.Namespace, state: Path) -> dict[str, Any]:
    """The whole soak with a server in ``state``."""
    found = Findings()
    server = Server(str(state), ["--model", str(args.model)] if args.model else [])
    try:
        begin = time.monotonic()
        end = begin + args.minutes * 60
        players = [Player(server, seed, end, found) for seed in range(args.clients)]
        threads = [threading.Thread(target=player.run) for player in players]
        for thread in threads:
            thread.start()
        look_after(server, begin, end, args.kills, found)
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin
        return report(found, seconds, args.bound, inspect_the_end(server, state, found))
    finally:
        server.process.terminate()
        server.process.wait(60)


def main() -> int:
    """Soak and report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--kills", type=int, default=2, help="times that the server is killed, early on")
    parser.add_argument("--bound", type=float, default=64, help="MiB that its memory may grow")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        result = soak(args, Path(state))
    print(json.dumps(result, indent=2))
    if args.output:
        with write_atomically(args.output) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(bool(result["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
