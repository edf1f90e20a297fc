"""Several replicas behind one address: where requests go, what they share, and what they leave alone."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from gamecraft.cli import main
from gamecraft.errors import InputError
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.app import create_app
from gamecraft.serving.client import Client
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.ids import is_id
from gamecraft.serving.shards import Shard, candidates, home_of, home_of_request
from replica_front import Front
from tiny import CHUNK

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

ID = "abcdefghijklmnopqrstuv"


class Served:
    """A front on a free port of this machine."""

    def __init__(self, front: Front) -> None:
        self.front = front
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        options = uvicorn.Config(front.app, port=port, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.02)
        for replica in range(2):
            while (answer := httpx2.get(f"{self.url}api/ready?replica={replica}")).status_code != 200:
                assert answer.json()["status"] == "loading"
                time.sleep(0.02)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(Front(tmp_path_factory.mktemp("state")))
    yield served
    served.stop()


# --- where requests go -----------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.data())
def test_every_id_has_one_home_and_replicas_make_ids_of_their_own(count: int, data: st.DataObject) -> None:
    shard = Shard(index=data.draw(st.integers(0, count - 1)), count=count)
    made = shard.new_id()
    assert is_id(made)
    owners = [index for index in range(count) if Shard(index=index, count=count).owns(made)]
    assert owners == [shard.index]


@pytest.mark.parametrize(
    ("path", "query", "home"),
    [
        (f"/api/sessions/{ID}", {}, home_of(ID, 4)),
        (f"/api/sessions/{ID}/chunks/3.jpg", {}, home_of(ID, 4)),
        (f"/api/jobs/{ID}/video.mp4", {}, home_of(ID, 4)),
        ("/api/play", {"session": [ID]}, home_of(ID, 4)),
        ("/api/jobs", {"session": [ID]}, home_of(ID, 4)),
        ("/metrics", {"replica": ["3"]}, 3),
        ("/studio/gradio_api/queue/data", {}, 0),
        ("/metrics", {"replica": ["4"]}, None),
        ("/metrics", {"replica": ["-1"]}, None),
        ("/api/play", {"session": ["../../etc"]}, None),
        ("/api/sessions/file", {}, None),
        ("/api/play", {}, None),
    ],
)
def test_requests_go_to_the_home_of_their_session(path: str, query: Any, home: int | None) -> None:
    assert home_of_request(path, query, 4) == home


def test_new_players_go_where_the_fewest_play_and_nobody_takes_a_dead_replicas_place() -> None:
    def replica(**stats: int) -> SimpleNamespace:
        return SimpleNamespace(routing_stats=stats)

    busy, free, silent = replica(index=0, busy=3), replica(index=1, busy=1), replica()
    assert candidates([busy, free, silent], None) == [[free], [busy]]
    assert candidates([busy, free, silent], 0) == [[busy]]
    assert candidates([busy, free, silent], 2) == [], "it waits for the one that is being started"


# --- two servers -----------------------------------------------------------------------------------------------------


def test_sessions_stick_to_their_replica_and_all_are_listed(served: Served) -> None:
    sessions = []
    for replica in range(2):
        served.front.usual = replica
        with Client(served.url) as client, client.play() as play:
            assert play.welcome.replicas == 2
            session = play.start("village", seed=3).session
            assert home_of(session, 2) == replica
            play.hold(["w"])
            play.step()
            play.request("save", name=f"replica {replica}")
            sessions.append(session)
    for usual in range(2):  # whoever is asked
        served.front.usual = usual
        with Client(served.url) as client:
            assert {s.session: s.chunks for s in client.sessions()}.items() >= dict.fromkeys(sessions, 1).items()
            for session in sessions:
                with client.play(session) as play:
                    assert play.state is not None
                    assert play.state.chunks == 1
                job = client.session_video(session)
                while (found := client.job(job.job)).status in ("waiting", "running"):
                    time.sleep(0.02)
                assert (found.status, found.total) == ("done", CHUNK)


def test_a_replica_says_that_a_session_is_elsewhere(served: Served) -> None:
    served.front.usual = 0
    with Client(served.url) as client:
        session = client.create("village").session
        served.front.usual = 1
        with client.play() as play, pytest.raises(InputError, match="another replica"):
            play.request("resume", session=session)
        answer = httpx2.get(f"{served.url}api/sessions/{session}?replica=1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "elsewhere")


def test_a_replica_that_starts_leaves_the_files_of_the_others_alone(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    ours, theirs = (Shard(index=index, count=2) for index in range(2))
    for folder, ending in (("sessions", "download.tmp"), ("sessions", "json.7.tmp"), ("jobs", "mp4.7.tmp")):
        (tmp_path / folder).mkdir(exist_ok=True)
        for shard in (ours, theirs):
            (tmp_path / folder / f".{shard.new_id()}.{ending}").touch()
    create_app(ServerConfig(state=tmp_path, shard=ours), lambda: pipe)
    left = [path.name[1:23] for folder in ("sessions", "jobs") for path in (tmp_path / folder).glob(".*")]
    assert len(left) == 3
    assert all(theirs.owns(id) for id in left)


def test_the_page_finds_a_session_wherever_it_is(served: Served, context: "BrowserContext") -> None:
    from page_driver import Driver

    served.front.usual = 1
    with Client(served.url) as client, client.play() as play:
        session = play.start("village", seed=3).session
        play.hold(["w"])
        play.step()
    served.front.usual = 0
    driver = Driver(context.new_page(), served.url).open()
    driver.page.click(f"#continue-list img[src*='{session}']")
    driver.until(lambda: driver.of("state") and driver.state["session"] == session)
    driver.page.keyboard.down("w")
    driver.until(lambda: driver.of("chunk") and driver.of("chunk")[-1]["chunk"] == 1)
    driver.page.keyboard.up("w")
    assert not driver.errors


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "line"), [(["--replicas", "0"], "at least 1"), (["--port", "70000"], "65535")])
def test_what_cannot_be_served_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    (printed,) = capsys.readouterr().err.splitlines()
    assert line in printed


def test_without_ray_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")  # or a token for Ray would stay in the environment
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "gamecraft.serving.cluster", raising=False)
    assert main(["serve", "--replicas", "2", "--port", "0", "--state", str(tmp_path)]) == 2
    assert "pip install 'gamecraft[cluster]'" in capsys.readouterr().err
