"""The studio: what its forms make, through Gradio's client and in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from gamecraft.actions import parse_script
from gamecraft.gallery import gallery
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.app import create_app
from gamecraft.serving.client import Client
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.studio import door
from gamecraft.serving.studio.path_plot import draw_path
from gamecraft.serving.studio.runs import RunStore
from gamecraft.session import Session
from gamecraft.video import read_video, write_video
from page_server import PageServer
from tiny import CHUNK

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

_PATIENCE = 300.0
"""Seconds until a test gives up; the machine may be busy."""

FORM: dict[str, Any] = {
    "start": "A picture of the gallery",
    "gallery": "village",
    "picture": None,
    "video": None,
    "run": None,
    "prompt": "a village",
    "negative_prompt": "",
    "script": "w 6f",
    "seed": 5,
    "steps": 2,
    "guidance": 1.0,
    "smoothing": 0.0,
    "move_speed": 0.2,
    "turn_speed": 2.0,
}


class Forms:
    """The studio of a server, filled in by name."""

    def __init__(self, server: PageServer, state: Path) -> None:
        import gradio_client

        with Client(server.url) as client:
            client.wait_until_ready(_PATIENCE)
        self.url, self.runs = server.url, RunStore(state / "studio")
        httpx2.get(f"{server.url}studio/", timeout=_PATIENCE)  # loads Gradio
        self._client = gradio_client.Client(
            f"{server.url}studio/", verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": _PATIENCE}
        )

    def make(self, **changes: Any) -> tuple[np.ndarray, str]:
        """The frames of the video that is made, and what is said about it."""
        video, told, _ = self.call("make", *(FORM | changes).values())
        return read_video(video["video"] if isinstance(video, dict) else video)[0], told

    def call(self, name: str, *values: Any) -> Any:
        return self._client.predict(*values, api_name=f"/{name}")


@pytest.fixture(scope="module")
def studio(pipe: GameCraftPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    state = tmp_path_factory.mktemp("state")
    with PageServer(pipe, state) as server:
        yield Forms(server, state)


def play(pipe: GameCraftPipeline, script: str, **settings: Any) -> Session:
    session = Session(pipe)
    session.reset(**({"image": "village", "prompt": "a village", "seed": 5} | settings))
    actions = parse_script(script)
    for index in range(0, len(actions), CHUNK):
        session.step(actions[index : index + CHUNK])
    return session


def the_video(session: Session, path: Path) -> np.ndarray:
    frames = np.concatenate([session.frames(index) for index in range(session.num_chunks)])
    write_video(path, frames, 24)
    return read_video(path)[0]


def test_the_form_makes_what_the_session_makes(studio: Forms, pipe: GameCraftPipeline, tmp_path: Path) -> None:
    frames, told = studio.make(script="w 6f")
    expected = the_video(play(pipe, "w 6f, idle 4f"), tmp_path / "expected.mp4")  # whole chunks are played
    assert np.array_equal(frames, expected)
    run = studio.runs.all()[0]
    assert (run.frames, run.seed, run.steps, run.script, run.start) == (10, 5, 2, "w 6f", "village")
    assert "10 frames" in told
    assert run.session in told


def test_a_run_is_gone_on_from_exactly(studio: Forms, pipe: GameCraftPipeline, tmp_path: Path) -> None:
    first, _ = studio.make(script="w 5f")
    before = studio.runs.all()[0]
    frames, _ = studio.make(start="The end of a run", run=before.session, script="left 5f")
    assert np.array_equal(frames, the_video(play(pipe, "w 5f, left 5f"), tmp_path / "expected.mp4"))
    after = studio.runs.all()[0]
    assert (after.follows, after.start, after.script) == (before.session, "village", "w 5f, left 5f")
    with Client(studio.url) as client:  # both can be played on in the page
        assert {s.session: s.chunks for s in client.sessions()}.items() >= {before.session: 1, after.session: 2}.items()
        with client.play(before.session) as remote:
            assert remote.state is not None
            assert remote.state.chunks == 1
    assert len(first) == CHUNK


def test_pictures_and_videos_are_starts(studio: Forms, pipe: GameCraftPipeline, tmp_path: Path) -> None:
    from gradio_client import handle_file

    picture = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "mine.png")
    frames, _ = studio.make(start="My picture", picture=handle_file(tmp_path / "mine.png"), script="w 5f")
    assert np.array_equal(frames, the_video(play(pipe, "w 5f", image=picture), tmp_path / "a.mp4"))

    write_video(tmp_path / "clip.mp4", np.random.default_rng(2).integers(0, 256, (9, 32, 48, 3), np.uint8), 24)
    clip = handle_file(tmp_path / "clip.mp4")
    frames, _ = studio.make(start="The end of a video", video=clip, script="w 5f")
    last = read_video(tmp_path / "clip.mp4")[0][-CHUNK:]
    assert np.array_equal(frames, the_video(play(pipe, "w 5f", image=None, video=last), tmp_path / "b.mp4"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"script": "w 2s, fly 1s"}, "fly"),
        ({"script": "w 86401f"}, "86400"),
        ({"start": "My picture"}, "no picture yet"),
        ({"start": "The end of a run", "run": None}, "no such run"),
        ({"guidance": 50.0}, "50"),
        ({"seed": -1}, "-1"),
    ],
)
def test_what_cannot_be_made_is_said(studio: Forms, changes: dict[str, Any], line: str) -> None:
    from gradio_client.exceptions import AppError

    before = [run.session for run in studio.runs.all()]
    with pytest.raises((AppError, ValueError), match=line):
        studio.make(**changes)
    assert [run.session for run in studio.runs.all()] == before


def test_runs_are_compared_by_what_differs(studio: Forms) -> None:
    studio.make(seed=1, script="w 5f")
    studio.make(seed=2, script="w 5f")
    second, first = studio.runs.all()[:2]
    left, right, table = studio.call("compare", first.session, second.session)
    assert left != right
    assert "<td>seed</td><td>1</td><td>2</td>" in table
    assert "prompt" not in table
    _, about = studio.call("run", first.session)
    assert "a village" in about


def test_history_outlives_the_server_and_forgets_the_oldest(studio: Forms, tmp_path: Path) -> None:
    studio.make(script="w 5f")
    (run, *_) = studio.runs.all()
    video = studio.runs.video(run)
    few = RunStore(tmp_path, max_runs=2)
    ids = [letter * 22 for letter in "abc"]
    for age, id in enumerate(ids):
        few.add(type(run)(**{**vars(run), "session": id, "created": float(age)}), video, b"picture")
    (tmp_path / f"{'d' * 22}.json").write_text(json.dumps(["no run"]))
    assert [kept.session for kept in RunStore(tmp_path, max_runs=2).all()] == [ids[2], ids[1]]
    assert len(list(tmp_path.glob("*.mp4"))) == 2


def test_the_path_is_drawn_to_scale() -> None:
    drawn = draw_path(parse_script("w 48f speed 0.25, right 45f turn 2deg"), 24)
    assert "ends 12.0 m ahead, 0.0 m to the right, turned 90 degrees" in drawn
    assert drawn.count("<rect") == 1 + 2, "the ground, and a bar for each key"


def test_the_path_follows_the_script(studio: Forms) -> None:
    assert "ends 9.6 m ahead" in studio.call("path", "w 2s", 0.0, 0.2, 2.0)
    assert "fly" in studio.call("path", "fly <b>", 0.0, 0.2, 2.0)
    assert "<b>" not in studio.call("path", "fly <b>", 0.0, 0.2, 2.0)


def test_without_gradio_one_line_says_what_to_do(
    pipe: GameCraftPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.importlib.util, "find_spec", lambda name: None)
    with TestClient(create_app(ServerConfig(state=tmp_path), lambda: pipe), base_url="http://127.0.0.1:8000") as client:
        answer = client.get("/studio/")
        assert answer.status_code == 501
        assert "pip install 'gamecraft[studio]'" in answer.text
        assert client.get("/").status_code == 200


def test_nobody_is_let_in_without_the_token(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    config = ServerConfig(host="0.0.0.0", token="a token that is long enough", state=tmp_path)
    with TestClient(create_app(config, lambda: pipe), base_url="http://play.example.org") as client:
        for path in ("/studio", "/studio/", "/studio/config", "/studio/gradio_api/upload"):
            assert client.get(path).status_code == 401


def test_files_of_the_server_cannot_be_fetched(studio: Forms) -> None:
    secret = studio.runs._folder.parent / "sessions"
    found = list(secret.glob("*.safetensors"))
    assert found
    for path in (found[0], Path("/etc/hostname")):
        assert httpx2.get(f"{studio.url}studio/gradio_api/file={path}").status_code in (403, 404)


def test_in_a_browser_the_forms_work_and_ask_nobody_else(context: "BrowserContext", page_server: PageServer) -> None:
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(_PATIENCE * 1000)
    page.goto(f"{page_server.url}studio/")
    page.wait_for_selector("text=/turned 45 degrees/")
    page.click("button:has-text('Turn left')")
    page.wait_for_selector("text=/turned -3 degrees/")  # the path follows
    page.get_by_label("Script").fill("w 5f")
    page.click("button:has-text('Make the video')")
    page.wait_for_selector("text=/5 frames in/")
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    page.click("button[role=tab]:has-text('History')")
    page.wait_for_selector("text=Put these settings into the form")
    assert [url for url in asked if not url.startswith((page_server.url, "blob:", "data:"))] == []
    assert next(iter(gallery())) in page.content()
