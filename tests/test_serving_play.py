"""The play protocol over a WebSocket, with a tiny random model."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient, WebSocketTestSession

from gamecraft.actions import Action, Key
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.app import create_app
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.encoding import encode_picture
from gamecraft.serving.frames import Frame, FrameFlag, PictureFormat
from gamecraft.serving.messages import parse_server_message
from gamecraft.serving.remote_play import decode_frame
from gamecraft.session import Session
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


@contextlib.contextmanager
def running(config: ServerConfig, pipe: GameCraftPipeline) -> Iterator[TestClient]:
    with TestClient(create_app(config, lambda: pipe), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def client(pipe: GameCraftPipeline, tmp_path: Path) -> Iterator[TestClient]:
    with running(ServerConfig(state=tmp_path, max_players=2, max_waiting=1), pipe) as client:
        yield client


@pytest.fixture(scope="module")
def shared(pipe: GameCraftPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(ServerConfig(state=tmp_path_factory.mktemp("state")), pipe) as client:
        yield client


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "that never happened"
        time.sleep(0.02)


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


# --- input -----------------------------------------------------------------------------------------------------------


def test_what_is_held_conditions_the_frames_and_is_acknowledged(client: TestClient) -> None:
    with start(client) as (player, _):
        seq = player.input("w", "right", look=(0.5, -0.1))
        player.send("step", id=1)
        chunk = player.get("chunk")
        assert [one.input for one in chunk.frames] == [seq] * CHUNK
        assert all(set(one.keys) == {"w", "right"} for one in chunk.frames)
        assert sum(one.look[0] for one in chunk.frames) == pytest.approx(0.5)
        assert player.last_of_chunk().input == seq
        seq = player.input()
        player.send("speed", move_speed=0.4)
        player.send("step", id=2)
        chunk = player.get("chunk")
        assert (chunk.chunk, chunk.first_frame) == (1, CHUNK)
        assert [(one.input, one.keys, one.look) for one in chunk.frames] == [(seq, [], (0.0, 0.0))] * CHUNK


def test_the_frames_are_those_of_the_session(client: TestClient, pipe: GameCraftPipeline) -> None:
    with start(client, prompt="a village", smoothing=0.5) as (player, _):
        player.input("w")
        player.send("step")
        player.last_of_chunk()
    session = Session(pipe)
    session.reset("village", prompt="a village", seed=5, smoothing=0.5)
    chunk = session.step([Action(keys=frozenset({Key.W}))] * CHUNK)
    expected = [encode_picture(frame, PictureFormat.JPEG, 90) for frame in chunk.frames]
    shown = [frame.picture for frame in player.frames if FrameFlag.STILL not in frame.flags]
    assert shown == expected


def test_there_is_at_most_one_chunk_of_lead(client: TestClient) -> None:
    with start(client, playing=True) as (player, _):
        for chunk in range(4):
            assert player.get("chunk").chunk == chunk
            shown = [frame for frame in player.frames if FrameFlag.STILL not in frame.flags]
            assert chunk == 0 or shown[-1].chunk == chunk - 1  # the one before is being shown
        assert [frame.frame for frame in shown] == list(range(len(shown)))


def test_frames_come_as_webp_if_asked(client: TestClient) -> None:
    with connect(client, format="webp", quality=80) as player:
        assert player.get("welcome").format == "webp"
        player.send("start", image={"gallery": "snow"}, playing=False)
        still = player.still()
        assert still.format is PictureFormat.WEBP
        assert decode_frame(still).shape == (*SIZE, 3)


# --- control ---------------------------------------------------------------------------------------------------------


def test_pause_play_step(client: TestClient) -> None:
    with start(client) as (player, first):
        assert (first.playing, first.paused) == (False, "player")
        assert player.ask("step").type == "done"
        assert player.ask("play").type == "done"
        player.until(lambda item: getattr(item, "chunk", None) == 2)
        player.send("pause", id=1000)
        state = player.until(lambda item: getattr(item, "type", "") == "state" and not item.playing)
        assert (state.paused, state.generation) == ("player", 1)
        assert state.chunks >= 3


def test_a_reset_while_chunks_are_made_shows_nothing_stale(client: TestClient) -> None:
    with start(client, playing=True) as (player, _):
        player.input("w")
        player.last_of_chunk()
        player.send("reset", seed=9, prompt="fog")
        state = player.until(lambda item: getattr(item, "generation", 0) == 2)
        assert (state.type, state.chunks, state.seed, state.prompt, state.playing) == ("state", 0, 9, "fog", True)
        player.frames.clear()
        chunk = player.get("chunk")
        assert (chunk.chunk, chunk.generation) == (0, 2)
        player.last_of_chunk()
        assert {frame.generation for frame in player.frames} == {2}
        assert FrameFlag.STILL in player.frames[0].flags


def test_rewind_fork_and_change_of_prompt(client: TestClient) -> None:
    with start(client, prompt="a village") as (player, first):
        for _ in range(3):
            player.ask("step")
        player.send("rewind", chunks=1)
        state = player.get("state")
        assert (state.generation, state.chunks, state.playing) == (2, 1, False)
        still = player.still()
        assert (still.chunk, still.frame) == (1, CHUNK)
        player.send("prompt", prompt="a dark forest")
        assert player.get("state").prompt == "a dark forest"
        player.ask("step")
        player.send("fork", chunks=1)
        fork = player.get("state")
        assert (fork.chunks, fork.generation, fork.prompt) == (1, 3, "a dark forest")
        assert fork.session != first.session
        player.send("resume", session=first.session)
        assert player.get("state").chunks == 2
        player.send("rewind", chunks=0)
        assert player.get("state").prompt == "a village"
        assert player.ask("rewind", chunks=5).code == "request"


def test_replay_shows_the_same_pictures_again(client: TestClient) -> None:
    with start(client) as (player, _):
        for _ in range(2):
            player.input("w")
            player.send("step")
            player.last_of_chunk()
        played = [frame for frame in player.frames if FrameFlag.STILL not in frame.flags]
        player.frames.clear()
        player.send("replay", first_chunk=0)
        assert player.get("state").paused == "replay"
        assert player.get("chunk").replay
        assert player.until(lambda item: getattr(item, "type", "") == "state").paused == "player"
        again = [frame for frame in player.frames if FrameFlag.STILL not in frame.flags]
        assert [(frame.frame, frame.picture) for frame in again] == [(frame.frame, frame.picture) for frame in played]
        assert all(FrameFlag.REPLAY in frame.flags for frame in again)


def test_input_ends_a_replay_and_play_goes_on(client: TestClient) -> None:
    with start(client) as (player, _):
        for _ in range(3):
            player.ask("step")
        player.send("replay")
        player.get("chunk")
        player.input("d")
        state = player.until(lambda item: getattr(item, "type", "") == "state" and item.playing)
        assert state.chunks == 3
        assert player.until(lambda item: getattr(item, "type", "") == "chunk" and not item.replay).chunk == 3


def test_play_pauses_without_input_and_when_the_session_is_full(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    session_bytes = 2 * 4 * 4 * 2 * 4 * 6  # two chunks of tiny latents
    config = ServerConfig(state=tmp_path, session_bytes=session_bytes)
    with running(config, pipe) as client, start(client) as (player, _):
        player.send("play")
        assert player.until(lambda item: getattr(item, "paused", None) is not None).paused == "full"
        player.send("rewind", chunks=0)
        player.send("play")
        assert player.until(lambda item: getattr(item, "type", "") == "chunk").chunk == 0
    config = ServerConfig(state=tmp_path, idle_seconds=0.3)
    with running(config, pipe) as client, start(client) as (player, _):
        player.send("play")
        assert player.until(lambda item: getattr(item, "paused", None) is not None).paused == "idle"
        player.input("w")
        assert player.until(lambda item: getattr(item, "type", "") == "state").playing


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_taken_up_again(client: TestClient) -> None:
    with start(client) as (player, state):
        player.ask("step")
    with connect(client) as player:
        player.get("welcome")
        player.send("resume", session=state.session)
        again = player.get("state")
        assert (again.session, again.chunks, again.seed) == (state.session, 1, 5)
        assert player.still().frame == CHUNK


def test_a_session_is_played_from_one_connection_at_a_time(client: TestClient) -> None:
    with start(client, playing=True) as (first, state), connect(client) as second:
        second.get("welcome")
        second.send("resume", session=state.session)
        taken = second.get("state")
        assert (taken.session, taken.playing) == (state.session, True)
        error = first.get("error")
        assert (error.code, error.fatal) == ("taken", True)
        assert first.until(lambda item: False) == 4001
        assert second.ask("step").type == "done"


def test_parked_sessions_come_back(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    config = ServerConfig(state=tmp_path, park_seconds=0.0)
    with running(config, pipe) as client:
        with start(client) as (player, state):
            player.input("w")
            player.send("step")
            chunk = player.last_of_chunk()
            player.send("save", name="mine", id=3)
            assert player.until(lambda item: getattr(item, "id", None) == 3).url.endswith("/file")
        server = client.app.state.server  # type: ignore[attr-defined]
        wait_until(lambda: not server.store.loaded())
        with connect(client) as player:
            player.get("welcome")
            player.send("resume", session=state.session)
            again = player.get("state")
            assert (again.chunks, again.name) == (1, "mine")
            assert player.still().picture == chunk.picture


def test_a_full_server_has_a_line(client: TestClient) -> None:
    with connect(client) as first, connect(client) as second:
        first.get("welcome")
        second.get("welcome")
        with connect(client) as third:
            queue = third.get("queue")
            assert (queue.position, queue.waiting, queue.players) == (1, 1, 2)
            assert third.ask("start", image={"gallery": "snow"}).message == "wait for welcome first"
            with connect(client) as fourth:
                assert fourth.get("error").code == "full"
                assert fourth.until(lambda item: False) == 1013
            first.socket.close()
            assert third.get("welcome").type == "welcome"


def test_who_is_away_gives_way_to_who_waits(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    config = ServerConfig(state=tmp_path, max_players=1, away_seconds=0.0)
    with running(config, pipe) as client, start(client) as (first, state), connect(client) as second:
        error = first.get("error")
        assert (error.code, error.fatal) == ("full", True)
        assert first.until(lambda item: False) == 1013
        second.get("welcome")
        second.send("resume", session=state.session)
        assert second.get("state").session == state.session


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [({"type": "hello", "version": 2}, "version"), ({"type": "ping", "time": 1}, "message")],
)
def test_a_wrong_beginning_ends_the_connection(client: TestClient, message: dict[str, Any], code: str) -> None:
    with client.websocket_connect("ws://127.0.0.1:8000/api/play") as socket:
        player = Player(socket)
        socket.send_json(message)
        error = player.get("error")
        assert (error.code, error.fatal) == (code, True)
        assert player.until(lambda item: False) == 1008


def test_silence_instead_of_hello_ends_the_connection(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    with (
        running(ServerConfig(state=tmp_path, hello_seconds=0.1), pipe) as client,
        client.websocket_connect("ws://127.0.0.1:8000/api/play") as socket,
    ):
        assert Player(socket).get("error").message == "expected hello within some seconds"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"type": "play"}, "request"),
        ({"type": "resume", "session": "A" * 22}, "unknown"),
        ({"type": "start", "image": {"gallery": "nowhere"}}, "unknown"),
        ({"type": "start", "image": {"upload": "A" * 22}}, "unknown"),
        ({"type": "start", "image": {"gallery": "../village"}}, "message"),
        ({"type": "replay", "first_chunk": 0}, "request"),
        ({"type": "rewind", "chunks": -1}, "message"),
        ({"type": "hello", "version": 1}, "message"),
        ({"type": "fly"}, "message"),
    ],
)
def test_a_refused_request_changes_nothing(client: TestClient, request_: dict[str, Any], code: str) -> None:
    with connect(client) as player:
        player.get("welcome")
        player.socket.send_json({**request_, "id": 77})
        error = player.get("error")
        assert (error.code, error.id, error.fatal) == (code, 77, False)
        assert "\n" not in error.message
        player.send("ping", time=4.5)
        assert player.get("pong").time == 4.5


def test_too_many_messages_are_refused_and_in_the_end_the_connection(
    pipe: GameCraftPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gamecraft.serving.socket._MAX_REFUSED", 50)
    config = ServerConfig(state=tmp_path, inputs_per_second=5)
    with running(config, pipe) as client, connect(client) as player:
        player.get("welcome")
        for _ in range(30):
            player.send("ping", time=1)
        assert player.get("error").code == "rate"
        for _ in range(150):
            player.send("ping", time=1)
        assert player.until(lambda item: False) == 1008


GARBAGE = st.text(max_size=100) | st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8)).map(
    json.dumps
)
PLAUSIBLE = st.fixed_dictionaries(
    {"type": st.sampled_from(["step", "pause", "play", "reset", "rewind", "fork", "replay", "seen", "seed", "save"])},
    optional={
        "chunks": st.integers(-1, 3),
        "first_chunk": st.integers(0, 2),
        "generation": st.integers(0, 9),
        "frame": st.integers(0, 50),
        "seed": st.integers(-1, 9),
        "prompt": st.text(max_size=5),
    },
).map(json.dumps)


@settings(max_examples=6, deadline=None)
@given(st.lists(GARBAGE | PLAUSIBLE | st.binary(max_size=20), min_size=5, max_size=20))
def test_nothing_a_client_sends_ends_the_server(shared: TestClient, messages: list[str | bytes]) -> None:
    with start(shared) as (player, _):
        for message in messages:
            if isinstance(message, bytes):
                player.socket.send_bytes(message)
            else:
                player.socket.send_text(message)
        player.send("ping", time=12345)
        pong = player.until(lambda item: getattr(item, "time", 0) == 12345 or getattr(item, "code", "") == "internal")
        assert pong.type == "pong"
        assert player.ask("pause").type == "done"  # all before it has been answered without an internal error
        assert shared.get("/metrics").text.count('code="internal"') == 0
