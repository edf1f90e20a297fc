"""A real server in a process of its own: played through `gamecraft.Client`, killed, started again."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from gamecraft.errors import InputError
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.app import create_app
from gamecraft.serving.client import Client
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.frames import Frame, FrameFlag
from gamecraft.serving.listen import listen
from gamecraft.serving.messages import Chunk
from gamecraft.serving.remote_play import ConnectionLostError
from tiny import CHUNK, SIZE

_FORK = multiprocessing.get_context("fork")  # so that the libraries need not be loaded again


class ServerProcess:
    """A server on a free port of this machine."""

    def __init__(self, pipe: GameCraftPipeline, state: Path) -> None:
        config = ServerConfig(state=state, port=0, save_seconds=0.0)
        with listen(config) as socket:
            self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"

            def run() -> None:
                app = create_app(config, lambda: pipe)
                uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[socket])

            self._process = _FORK.Process(target=run, daemon=True)
            self._process.start()
        with Client(self.url) as client:
            client.wait_until_ready(60)

    def end(self, number: signal.Signals) -> int | None:
        os.kill(self._process.pid or 0, number)
        self._process.join(60)
        return self._process.exitcode


@pytest.fixture
def server(pipe: GameCraftPipeline, tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(pipe, tmp_path)
    yield server
    server.end(signal.SIGKILL)


def test_a_killed_server_goes_on_with_what_was_played(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    server = ServerProcess(pipe, tmp_path)
    with Client(server.url) as client, client.play() as play:
        session = play.start("village", seed=3).session
        play.hold(["w"])
        first = play.step()
        play.request("save", name="mine")
        play.request("play")
        server.end(signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            while True:
                play.receive()
    server = ServerProcess(pipe, tmp_path)
    try:
        with Client(server.url) as client, client.play(session) as play:
            assert play.state is not None
            assert play.state.chunks >= 1
            assert play.state.name == "mine"
            play.request("rewind", chunks=0)
            play.hold(["w"])
            assert np.array_equal(play.step().frames, first.frames)  # the very same play
    finally:
        assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert not list((tmp_path / "sessions").glob(".*"))


def test_a_bot_plays(server: ServerProcess, tmp_path: Path) -> None:
    with Client(server.url) as client:
        assert (client.model().height, client.model().width) == SIZE
        upload = client.upload(np.full((64, 64, 3), 99, np.uint8))
        with client.play() as play:
            session = play.start(upload, upload=True, seed=3, playing=True).session
            seq = play.hold(["w"])
            while True:  # until it is acknowledged, and shown
                item = play.receive()
                if isinstance(item, Chunk) and item.frames[0].input == seq:
                    assert item.frames[0].keys == ["w"]
                if isinstance(item, Frame) and item.input == seq and FrameFlag.LAST in item.flags:
                    break
            with pytest.raises(InputError, match="there are"):
                play.request("rewind", chunks=10_000)
            play.request("pause")
        client.download(session, tmp_path / "play", latents=False)
        again = client.add(tmp_path / "play")
        assert again.chunks == client.sessions()[-1].chunks
        client.delete(again.session)
        job = client.generate("village", "w 6f", seed=3)
        client.video(job.job, tmp_path / "out.mp4")
        assert (tmp_path / "out.mp4").stat().st_size > 100
        with pytest.raises(InputError, match="404"):
            client.job("nothing")
        assert client.model().chunk_frames == CHUNK


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    client: Any = Client("http://127.0.0.1:9", timeout=2)
    for ask in (client.model, client.play, lambda: client.wait_until_ready(0)):
        with pytest.raises(ConnectionLostError):
            ask()
