"""The play protocol over a WebSocket, with a tiny random model."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession

from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.app import create_app
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.frames import Frame, FrameFlag
from gamecraft.serving.messages import parse_server_message
from tiny import CHUNK, SIZE


class Player:
    """A client in the test's own thread; remembers what it was sent."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self.seq = 0

    def send(self, type: str, **fields: Any) -> None:
        self.socket.send_json({"type": type, **fields})

    def input(self, *keys: str, look: tuple[float, float] = (0.0, 0.0)) -> int:
        self.seq += 1
        self.send("input", seq=self.seq, time=self.seq * 10.0, keys=list(keys), look=list(look))
        return self.seq

    def next(self) -> Any:
        data = self.socket.receive()
        if data["type"] == "websocket.close":
            return data["code"]
        if data.get("text") is not None:
            return parse_server_message(data["text"])
        return Frame.unpack(data["bytes"])

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        for _ in range(2000):
            item = self.next()
            if isinstance(item, Frame):
                self.frames.append(item)
            if isinstance(item, int) or wanted(item):
                return item
        raise AssertionError("that never came")

    def get(self, type: str) -> Any:
        return self.until(lambda item: getattr(item, "type", "") in (type, "error"))

    def still(self) -> Frame:
        return self.until(lambda item: isinstance(item, Frame) and FrameFlag.STILL in item.flags)

    def last_of_chunk(self) -> Frame:
        return self.until(lambda item: isinstance(item, Frame) and FrameFlag.LAST in item.flags)

    def ask(self, type: str, **fields: Any) -> Any:
        self.seq += 1
        id = self.seq
        self.send(type, id=id, **fields)
        return self.until(lambda item: getattr(item, "id", None) == id)


@pytest.fixture
def client(pipe: GameCraftPipeline, tmp_path: Path) -> Iterator[TestClient]:
    config = ServerConfig(state=tmp_path, max_players=2, max_waiting=1, idle_seconds=60)
    with TestClient(create_app(config, lambda: pipe), base_url="http://127.0.0.1:8000") as client:
        yield client


@contextlib.contextmanager
def connect(client: TestClient, **hello: Any) -> Iterator[Player]:
    with client.websocket_connect("ws://127.0.0.1:8000/api/play") as socket:
        player = Player(socket)
        player.send("hello", **({"version": 1} | hello))
        yield player


@contextlib.contextmanager
def start(client: TestClient, **fields: Any) -> Iterator[tuple[Player, Any]]:
    with connect(client) as player:
        player.get("welcome")
        player.send("start", **({"image": {"gallery": "village"}, "seed": 5, "playing": False} | fields))
        yield player, player.get("state")


def test_a_play_begins_with_where_it_stands(client: TestClient) -> None:
    with connect(client) as player:
        welcome = player.get("welcome")
        assert (welcome.model.height, welcome.model.width, welcome.model.chunk_frames) == (*SIZE, CHUNK)
        assert "village" in [picture.name for picture in welcome.gallery]
        player.send("start", image={"gallery": "village"}, seed=5)
        state = player.get("state")
        assert (state.generation, state.chunks, state.seed, state.playing) == (1, 0, 5, True)
        still = player.still()
        assert (still.generation, still.frame, still.width, still.height) == (1, 0, SIZE[1], SIZE[0])
        chunk = player.get("chunk")
        assert (chunk.chunk, chunk.first_frame, len(chunk.frames)) == (0, 0, CHUNK)
        last = player.last_of_chunk()
        assert [frame.frame for frame in player.frames] == [0, *range(CHUNK)]
        assert (last.chunk, last.generation) == (0, 1)
