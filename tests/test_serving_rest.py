"""REST: pictures, sessions, files, jobs, and who is let in."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gamecraft.actions import parse_script
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.access import AccessControl
from gamecraft.serving.app import create_app
from gamecraft.serving.config import ServerConfig
from gamecraft.session import Session
from gamecraft.video import read_video
from tiny import CHUNK, SIZE

TOKEN = "a token that is long enough"
VILLAGE = {"image": {"gallery": "village"}, "seed": 5}


def serve(pipe: GameCraftPipeline, config: ServerConfig, url: str = "http://127.0.0.1:8000") -> TestClient:
    client = TestClient(create_app(config, lambda: pipe), base_url=url)
    client.__enter__()
    wait(lambda: client.get("/api/ready", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200)
    return client


def wait(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "that never happened"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def client(pipe: GameCraftPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    state = tmp_path_factory.mktemp("state")
    config = ServerConfig(state=state, upload_bytes=50_000, upload_pixels=100_000, session_file_bytes=100_000)
    client = serve(pipe, config)
    yield client
    client.__exit__()


@pytest.fixture(scope="module")
def guarded(pipe: GameCraftPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    client = serve(
        pipe,
        ServerConfig(host="0.0.0.0", token=TOKEN, state=tmp_path_factory.mktemp("state")),
        "http://play.example.org",
    )
    yield client
    client.__exit__()


def png(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def the_error(response: Any, status: int) -> str:
    assert response.status_code == status
    message: str = response.json()["error"]["message"]
    assert "\n" not in message
    assert "Traceback" not in message
    return message


# --- about, pictures -------------------------------------------------------------------------------------------------


def test_the_server_describes_itself(client: TestClient) -> None:
    assert client.get("/api/health").json() == {"status": "ok"}
    (model,) = client.get("/api/models").json()["models"]
    assert (model["height"], model["width"], model["chunk_frames"]) == (*SIZE, CHUNK)
    assert "gamecraft_chunk_seconds" in client.get("/metrics").text
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page  # works offline


def test_the_gallery_is_shown(client: TestClient) -> None:
    pictures = client.get("/api/gallery").json()["pictures"]
    assert len(pictures) == 12
    response = client.get(pictures[0]["url"])
    assert Image.open(io.BytesIO(response.content)).format == "PNG"
    the_error(client.get("/api/gallery/..%2Fgallery.png"), 404)


def test_an_upload_becomes_the_start(client: TestClient) -> None:
    response = client.post("/api/uploads", content=png(100, 50))
    assert response.status_code == 201
    upload = response.json()
    assert (upload["height"], upload["width"]) == SIZE
    assert Image.open(io.BytesIO(client.get(upload["url"]).content)).size == (SIZE[1], SIZE[0])
    created = client.post("/api/sessions", json={"image": {"upload": upload["upload"]}}).json()
    assert (created["chunks"], created["prompt"]) == (0, "")


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"GIF89a" + bytes(99), 400), (b"x" * 60_000, 413), (png(1000, 200), 400)]
)
def test_bad_uploads_are_refused(client: TestClient, content: bytes, status: int) -> None:
    the_error(client.post("/api/uploads", content=content), status)


def test_a_body_without_a_length_is_bounded_as_well(client: TestClient) -> None:
    pieces = (b"x" * 10_000 for _ in range(100))
    the_error(client.post("/api/uploads", content=pieces), 413)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_sessions_are_created_listed_and_deleted(client: TestClient) -> None:
    created = client.post("/api/sessions", json=VILLAGE | {"prompt": "x"}).json()
    entry = client.get(f"/api/sessions/{created['session']}").json()
    assert (entry["seed"], entry["prompt"], entry["chunks"], entry["playing"]) == (5, "x", 0, False)
    assert client.get("/api/sessions").json()["sessions"][0] == entry
    assert Image.open(io.BytesIO(client.get(entry["thumbnail"]).content)).size == (SIZE[1], SIZE[0])
    assert client.delete(f"/api/sessions/{entry['session']}").status_code == 204
    the_error(client.get(f"/api/sessions/{entry['session']}"), 404)
    the_error(client.delete(f"/api/sessions/{entry['session']}"), 404)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"image": {"gallery": "village", "upload": "A" * 22}},
        VILLAGE | {"steps": 0},
        VILLAGE | {"guidance": 1e9},
        VILLAGE | {"more": 1},
        VILLAGE | {"seed": "5"},
    ],
)
def test_bad_sessions_are_refused(client: TestClient, values: dict[str, Any]) -> None:
    the_error(client.post("/api/sessions", json=values), 400)


@pytest.mark.parametrize("latents", [True, False])
def test_a_session_file_goes_out_and_comes_back(
    client: TestClient, pipe: GameCraftPipeline, tmp_path: Path, latents: bool
) -> None:
    session = Session(pipe)
    session.reset("village", seed=5)
    played = [session.step(parse_script(script)) for script in ("w 5f", "left 5f")]
    session.save(tmp_path / "play", latents=latents, notes={"name": "from afar"})
    entry = client.post("/api/sessions/file", content=(tmp_path / "play").read_bytes()).json()
    assert (entry["chunks"], entry["name"], entry["seconds"]) == (2, "from afar", pytest.approx(10 / 24, abs=0.01))
    picture = client.get(f"/api/sessions/{entry['session']}/chunks/1.jpg")
    assert Image.open(io.BytesIO(picture.content)).size == (SIZE[1], SIZE[0])
    the_error(client.get(f"/api/sessions/{entry['session']}/chunks/2.jpg"), 404)
    response = client.get(f"/api/sessions/{entry['session']}/file", params={"latents": latents})
    (tmp_path / "again").write_bytes(response.content)
    again, _ = Session.load(tmp_path / "again", pipe)
    assert all(np.array_equal(again.frames(i), chunk.frames) for i, chunk in enumerate(played))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, bytes(99) + b"x" * 200_000])
def test_bad_session_files_are_refused_and_leave_nothing(client: TestClient, content: bytes) -> None:
    before = client.get("/api/sessions").json()
    the_error(client.post("/api/sessions/file", content=content), 413 if len(content) > 100_000 else 400)
    assert client.get("/api/sessions").json() == before
    folder = client.app.state.server.config.state / "sessions"  # type: ignore[attr-defined]
    assert not list(folder.glob(".*"))


def test_a_session_of_another_size_is_refused(client: TestClient, pipe: GameCraftPipeline, tmp_path: Path) -> None:
    session = Session(pipe)
    session.reset("village", height=16, width=16)
    session.save(tmp_path / "play")
    response = client.post("/api/sessions/file", content=(tmp_path / "play").read_bytes())
    assert "16x16 pixels, expected 48x32" in the_error(response, 400)


def test_the_oldest_session_nobody_named_makes_place(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    client = serve(pipe, ServerConfig(state=tmp_path, max_sessions=2))
    try:
        ids = [client.post("/api/sessions", json=VILLAGE).json()["session"] for _ in range(3)]
        assert [entry["session"] for entry in client.get("/api/sessions").json()["sessions"]] == [ids[2], ids[1]]
        assert {path.stem for path in (tmp_path / "sessions").iterdir()} == set(ids[1:])
    finally:
        client.__exit__()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("image", "prompt", "seed", "steps", "guidance", "smoothing", "actions", "session")


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["sessions", "jobs"]), st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)) | JSON)
def test_no_json_ends_in_a_bug(client: TestClient, path: str, values: Any) -> None:
    response = client.post(f"/api/{path}", content=json.dumps(values))
    the_error(response, 404 if response.status_code == 404 else 400)


def test_json_is_bounded_too(client: TestClient) -> None:
    the_error(client.post("/api/jobs", content=(b"[" * 50_000 for _ in range(2))), 400)
    pieces = (b" " * 50_000 for _ in range(100))
    assert client.post("/api/jobs", content=pieces).status_code in (400, 413)


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_script_becomes_a_video(client: TestClient, pipe: GameCraftPipeline, tmp_path: Path) -> None:
    submitted = client.post("/api/jobs", json=VILLAGE | {"actions": "w 7f"})
    assert submitted.status_code == 202
    job = f"/api/jobs/{submitted.json()['job']}"
    wait(lambda: client.get(job).json()["status"] == "done")
    status = client.get(job).json()
    assert (status["done"], status["total"], status["kind"]) == (7, 7, "generate")
    (tmp_path / "a.mp4").write_bytes(client.get(status["url"]).content)
    assert read_video(tmp_path / "a.mp4")[0].shape == (7, *SIZE, 3)
    assert client.delete(job).status_code == 204
    the_error(client.get(job), 404)


def test_a_session_becomes_a_video(client: TestClient, pipe: GameCraftPipeline, tmp_path: Path) -> None:
    session = Session(pipe)
    session.reset("village", seed=5)
    session.step(parse_script("w 5f"))
    session.save(tmp_path / "play")
    id = client.post("/api/sessions/file", content=(tmp_path / "play").read_bytes()).json()["session"]
    job = f"/api/jobs/{client.post('/api/jobs', json={'session': id}).json()['job']}"
    wait(lambda: client.get(job).json()["status"] == "done")
    (tmp_path / "a.mp4").write_bytes(client.get(f"{job}/video.mp4").content)
    assert read_video(tmp_path / "a.mp4")[0].shape == (CHUNK, *SIZE, 3)


def test_a_job_is_cancelled(client: TestClient) -> None:
    id = client.post("/api/jobs", json=VILLAGE | {"actions": "w 20000f"}).json()["job"]
    wait(lambda: client.get(f"/api/jobs/{id}").json()["done"] > 0)
    assert client.delete(f"/api/jobs/{id}").status_code == 204
    assert client.get(f"/api/jobs/{id}").json()["status"] == "cancelled"
    the_error(client.get(f"/api/jobs/{id}/video.mp4"), 400)
    later = client.post("/api/jobs", json=VILLAGE | {"actions": "w 1f"}).json()["job"]  # the worker goes on
    wait(lambda: client.get(f"/api/jobs/{later}").json()["status"] == "done")


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (VILLAGE | {"actions": "fly 2s"}, 400),
        (VILLAGE | {"actions": ""}, 400),
        (VILLAGE | {"actions": "w 4000s"}, 400),
        ({"session": "A" * 22}, 404),
        ({"session": "../../etc/passwd"}, 404),
    ],
)
def test_bad_jobs_are_refused(client: TestClient, values: dict[str, Any], status: int) -> None:
    the_error(client.post("/api/jobs", json=values), status)


# --- who is let in ---------------------------------------------------------------------------------------------------


def test_without_the_token_nothing_is_shown(guarded: TestClient) -> None:
    assert guarded.get("/api/health").status_code == 200
    for path in ("/", "/api/sessions", "/metrics", "/docs", "/openapi.json", "/api/gallery/village.png", "/none"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "gamecraft_token=wrong"}):
            response = guarded.get(path, headers=headers)
            assert response.status_code == 401
    assert "?token=" in guarded.get("/", headers={"Accept": "text/html"}).text
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect("ws://play.example.org/api/play"):
        pass


def test_the_token_opens_the_door(guarded: TestClient) -> None:
    assert guarded.get("/api/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    response = guarded.get("/", params={"token": TOKEN, "a": "b"}, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/?a=b")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert TOKEN not in response.headers["location"]
    response = guarded.get(f"//evil.example.com/?token={TOKEN}".replace(" ", "%20"), follow_redirects=False)
    assert not response.headers.get("location", "").startswith("//")
    assert guarded.get("/api/models").status_code == 200  # with the cookie
    with guarded.websocket_connect("ws://play.example.org/api/play") as socket:
        socket.send_json({"type": "hello", "version": 1})
        assert socket.receive_json()["type"] in ("welcome", "progress")
    guarded.cookies.clear()


@pytest.mark.parametrize("origin", ["http://evil.example.com", "null", "http://127.0.0.1:9", "file://", "http://[", ""])
def test_other_pages_may_not_use_the_server(client: TestClient, origin: str) -> None:
    headers = {"Origin": origin}
    the_error(client.post("/api/sessions", json=VILLAGE, headers=headers), 403)
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://127.0.0.1:8000/api/play", headers=headers),
    ):
        pass


def test_the_own_page_and_named_ones_may(pipe: GameCraftPipeline, client: TestClient, tmp_path: Path) -> None:
    assert client.post("/api/sessions", json=VILLAGE, headers={"Origin": "http://127.0.0.1:8000"}).status_code == 201
    proxied = serve(pipe, ServerConfig(state=tmp_path, origins=("https://play.example.org",)))
    try:
        headers = {"Origin": "https://play.example.org"}
        assert proxied.post("/api/sessions", json=VILLAGE, headers=headers).status_code == 201
    finally:
        proxied.__exit__()


def test_a_name_that_points_here_is_not_enough(client: TestClient) -> None:
    the_error(client.get("/api/sessions", headers={"Host": "evil.example.com"}), 403)
    the_error(client.get("/api/sessions", headers={"Host": "["}), 403)
    assert client.get("/api/sessions", headers={"Host": "localhost:8000"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/app.py",
        "/..%2fapp.py",
        "/api/uploads/..%2F..%2Fx.png",
        "/api/sessions/..%2Fx/file",
        "/api/sessions/%00/thumbnail.jpg",
        "/api/jobs/..%2Fx/video.mp4",
        "//etc/passwd",
        "/app.py",
    ],
)
def test_no_path_reaches_the_file_system(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code in (400, 404)
    assert b"root:" not in response.content
    assert b"import" not in response.content


def test_too_many_requests_are_refused() -> None:
    now = 0.0
    app = AccessControl(PlainTextResponse("in"), ServerConfig(), clock=lambda: now)
    client = TestClient(app, base_url="http://127.0.0.1")
    answers = [client.get("/").status_code for _ in range(210)]
    assert answers == [200] * 200 + [429] * 10
    now = 0.1
    assert [client.get("/").status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_model_that_cannot_be_loaded_is_said_everywhere(tmp_path: Path) -> None:
    def load() -> GameCraftPipeline:
        raise OSError("a secret path")

    with TestClient(create_app(ServerConfig(state=tmp_path), load), base_url="http://127.0.0.1") as client:
        wait(lambda: client.get("/api/ready").json()["status"] == "failed")
        message = the_error(client.post("/api/sessions", json=VILLAGE), 503)
        assert "secret" not in message
        with client.websocket_connect("ws://127.0.0.1/api/play") as socket:
            socket.send_json({"type": "hello", "version": 1})
            answers = [socket.receive_json() for _ in range(1)]
            assert answers[-1]["code"] == "model"
