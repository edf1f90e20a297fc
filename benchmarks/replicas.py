"""Play on several replicas behind Ray Serve, kill one of them, and see what the others and the sessions make of it.

Starts `gamecraft serve --replicas N` with a state folder of its own, and a client on each replica. Then the process of
one replica is killed (SIGKILL) while all play. Reported: seconds until the server could be played, until the killed
replica's session could be played again, the longest pause of the others' pictures, and how many chunks the killed one's
session had before and after. Exit code 1 if a saved session is not there, or another player lost the connection:

    python benchmarks/replicas.py --replicas 2 --output outputs/replicas.json

It needs `pip install 'gamecraft[cluster]'`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gamecraft.errors import GameCraftError
from gamecraft.files import write_atomically
from gamecraft.serving.client import Client
from gamecraft.serving.frames import Frame
from gamecraft.serving.messages import Chunk
from gamecraft.serving.shards import home_of

PATIENCE = 900.0  # seconds to wait for processes to start


@dataclass
class Seat:
    """One player, on one replica."""

    url: str
    session: str
    chunks: int = 0
    longest_pause: float = 0.0
    lost: str = ""
    leave: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Hold W until told to leave, or the connection is lost."""
        try:
            with Client(self.url) as client, client.play(self.session) as play:
                play.hold(["w"])
                play.request("play")
                last = time.monotonic()
                while not self.leave.is_set():
                    try:
                        item = play.receive(1.0)
                    except TimeoutError:
                        continue
                    if isinstance(item, Chunk):
                        self.chunks = item.chunk + 1
                    elif isinstance(item, Frame):
                        self.longest_pause = max(self.longest_pause, time.monotonic() - last)
                        last = time.monotonic()
        except GameCraftError as error:
            self.lost = str(error)


def begin_everywhere(url: str, replicas: int) -> dict[int, str]:
    """A saved session on each replica, by its number."""
    sessions: dict[int, str] = {}
    end = time.monotonic() + PATIENCE
    with Client(url) as client:
        while len(sessions) < replicas:
            if time.monotonic() > end:
                raise GameCraftError(f"only the replicas {sorted(sessions)} of {replicas} answer")
            try:
                session = client.create("village", seed=len(sessions)).session
            except GameCraftError:
                time.sleep(0.5)
                continue
            sessions.setdefault(home_of(session, replicas), session)
    for session in sessions.values():
        with Client(url) as client, client.play(session) as play:
            play.step()
            play.request("save", name="before")
    return sessions


def replica_processes(server: psutil.Process) -> list[psutil.Process]:
    """Ray's processes that hold a replica."""
    return [one for one in server.children(recursive=True) if "ServeReplica" in " ".join(one.cmdline())]


def until_back(url: str, session: str) -> tuple[float, int]:
    """Seconds until a session can be played again, and its chunks then."""
    began = time.monotonic()
    while True:
        try:
            with Client(url, timeout=30) as client, client.play(session) as play:
                assert play.state is not None
                chunks = play.state.chunks
                play.step()
                return time.monotonic() - began, chunks
        except GameCraftError:
            if time.monotonic() - began > PATIENCE:
                raise
            time.sleep(0.5)


def measure(url: str, server: psutil.Process, replicas: int, seconds: float) -> dict[str, Any]:
    """Play, kill, and look."""
    sessions = begin_everywhere(url, replicas)
    seats = {index: Seat(url, session) for index, session in sessions.items()}
    threads = {index: threading.Thread(target=seat.run) for index, seat in seats.items()}
    for thread in threads.values():
        thread.start()
    time.sleep(seconds)
    replica_processes(server)[0].kill()
    while not (dead := [index for index, seat in seats.items() if seat.lost]):
        time.sleep(0.05)
    back, chunks = until_back(url, seats[dead[0]].session)
    time.sleep(seconds)
    lost = {index: seat.lost for index, seat in seats.items() if seat.lost}
    for seat in seats.values():
        seat.leave.set()
    for thread in threads.values():
        thread.join()
    with Client(url) as client:
        listed = {session.session for session in client.sessions()}
    return {
        "killed_replica": dead[0],
        "seconds_until_it_is_back": round(back, 2),
        "its_chunks": {"seen_before": seats[dead[0]].chunks, "came_back": chunks},
        "longest_pause_of_the_others": round(max(s.longest_pause for i, s in seats.items() if i not in lost), 2),
        "connections_lost": lost,
        "saved_sessions_missing": sorted(set(sessions.values()) - listed),
    }


def main() -> int:
    """Measure and report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="of play before and after the kill")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "gamecraft", "serve", "--replicas", str(args.replicas), "--port", "0"]
        command += ["--state", state, *(["--model", str(args.model)] if args.model else [])]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            url = next(match[0] for line in process.stderr if (match := re.search(r"http://[\d.]+:\d+", line)))
            threading.Thread(target=sys.stderr.writelines, args=(process.stderr,), daemon=True).start()
            with Client(url) as client:
                while process.poll() is None:
                    with suppress(GameCraftError):
                        client.wait_until_ready(1.0)
                        break
                if process.poll() is not None:
                    raise GameCraftError(f"the server ended with code {process.returncode}")
            started = time.monotonic() - began
            result = measure(url, psutil.Process(process.pid), args.replicas, args.seconds)
        finally:
            process.terminate()
            process.wait(120)
    result = {"replicas": args.replicas, "seconds_to_start": round(started, 2), **result}
    print(json.dumps(result, indent=2))
    if args.output:
        with write_atomically(args.output) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(len(result["connections_lost"]) > 1 or bool(result["saved_sessions_missing"]))


if __name__ == "__main__":
    sys.exit(main())
