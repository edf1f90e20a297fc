"""Captions and balance."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curation_material import pan, write_raw
from gamecraft.curation.balance import Balance, equal_shares, stratum
from gamecraft.curation.captioners import ask_endpoint
from gamecraft.curation.captions import LONG, Captions, template_captions
from gamecraft.curation.checks import Checks
from gamecraft.curation.extras import load_plugin
from gamecraft.curation.store import Store, Unit
from gamecraft.errors import GameCraftError, InputError
from gamecraft.trajectory import CameraState


def path(*states: CameraState) -> np.ndarray:
    return np.stack([state.pose() for state in states])


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (CameraState(position=(0.0, 0.0, 5.0)), "Walking forward in Freedoom"),
        (CameraState(position=(0.0, 0.0, -5.0)), "Walking back in Freedoom"),
        (CameraState(position=(3.0, 0.0, 1.0), yaw=1.0), "Stepping right in Freedoom"),
        (CameraState(yaw=-1.0), "Standing in Freedoom"),
    ],
)
def test_templates_say_what_is_known(end: CameraState, words: str) -> None:
    short, long = template_captions({"game": "Freedoom", "place": "e1m1"}, path(CameraState(), end), 0.3)
    assert short == words
    assert len(long) >= LONG
    assert "e1m1" in long
    assert ("turning" in long) == (abs(end.yaw) > 0.5)


def test_templates_need_nothing() -> None:
    short, long = template_captions({}, path(CameraState(), CameraState()), 0.3)
    assert short
    assert len(long) >= LONG


class Chat(BaseHTTPRequestHandler):
    """Answers with the model's name, the number of pictures and the key."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = request["messages"][0]["content"]
        pictures = sum(part["type"] == "image_url" for part in content)
        words = f"{request['model']} {pictures} {self.headers['Authorization']}"
        broken = request["model"] == "broken"
        answer = {} if broken else {"choices": [{"message": {"content": words}}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_endpoints_are_asked_with_pictures_and_key(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [Image.new("RGB", (8, 8))] * 2
    assert ask_endpoint(endpoint, "tiny", "", pictures, "what?") == "tiny 2 None"
    monkeypatch.setenv("SOME_KEY", "abc")
    assert ask_endpoint(endpoint, "tiny", "SOME_KEY", pictures, "what?") == "tiny 2 Bearer abc"


def test_endpoints_that_fail_say_so_and_stop_the_run(endpoint: str) -> None:
    with pytest.raises(GameCraftError, match="something else than a chat") as error:
        ask_endpoint(endpoint, "broken", "", [], "what?")
    assert not isinstance(error.value, InputError)
    with pytest.raises(GameCraftError, match="NO_SUCH_KEY"):
        ask_endpoint(endpoint, "tiny", "NO_SUCH_KEY", [], "what?")
    with pytest.raises(GameCraftError, match="does not answer"):
        ask_endpoint("http://127.0.0.1:1/v1", "tiny", "", [], "what?")


@pytest.mark.parametrize("wrong", [{"source": "endpoint", "model": "m", "url": "file:///etc"}, {"source": "endpoint"}])
def test_caption_settings_are_checked(wrong: dict) -> None:
    with pytest.raises(InputError):
        Captions(**wrong)


def looks_bright(pictures: list[Image.Image]) -> float:
    return float(np.mean([np.asarray(picture).mean() for picture in pictures])) / 255


def says_yes(pictures: list[Image.Image], question: str) -> str:
    return f"Yes, {len(pictures)}." if question == "Is it good?" else "No."


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, None),
        ({"quality": f"{__name__}:looks_bright", "least": 0.1}, None),
        ({"quality": f"{__name__}:looks_bright", "least": 0.9}, "quality"),
        ({"source": f"{__name__}:says_yes", "question": "Is it good?"}, None),
        ({"source": f"{__name__}:says_yes", "question": "Is it bad?"}, "model's answer"),
    ],
)
def test_models_may_judge(tmp_path: Path, settings: dict, reason: str | None) -> None:
    inputs = {"first": 0, "frames": 6, "fps": 24, "window": [0.0, 0.0, 1.0, 1.0]}
    unit = Unit(name="a", inputs=inputs, place=str(write_raw(tmp_path, "a", pan(1, 6))))
    result = Checks(**settings).process(unit, Store(tmp_path))
    assert (result["rejected"] or [None])[0] == reason


def test_plugins_that_do_not_load_are_named(tmp_path: Path) -> None:
    for name in ("nocolon", "no_such_module:f", f"{__name__}:no_such_function"):
        with pytest.raises(InputError, match=name.split(":")[0]):
            load_plugin(name)


def test_strata_are_directions_and_turns() -> None:
    assert stratum((0, 0, 3, 0, 0)) == "forward, straight"
    assert stratum((-2, 0, 2, 0.5, 0)) == "forward left, turning right"
    assert stratum((0, 0, -3, -0.5, 0)) == "back, turning left"
    assert stratum((0, 0, 0.1, 0, 0)) == "standing, straight"


def test_shares_are_as_equal_as_there_are_clips() -> None:
    assert equal_shares({"a": 10, "b": 2, "c": 5}, 9) == {"a": 4, "b": 2, "c": 3}
    assert equal_shares({"a": 10, "b": 2}, 100) == {"a": 10, "b": 2}
    assert equal_shares({"a": 1, "b": 1}, 1) == {"a": 0, "b": 1}


def balanced(**settings: object) -> dict:
    """Nine clips walk forward, one walks back."""
    motions = {f"c{i}": [0, 0, 3, 0, 0] for i in range(9)} | {"c9": [0, 0, -3, 0, 0]}
    back = {name: [0, 0, -row[2], 0, 0] for name, row in motions.items()}
    unit = Unit(name="all", inputs={"forth": motions, "back": back})
    return Balance(**settings).process(unit, Store(__file__))  # type: ignore[arg-type]


def test_playing_backwards_makes_up_for_what_players_do() -> None:
    result = balanced()
    assert result["before"] == {"forward, straight": 9, "back, straight": 1}
    assert result["after"] == {"forward, straight": 5, "back, straight": 5}
    assert Counter(backwards for _, backwards in result["clips"]) == {False: 6, True: 4}
    assert ("c9", False) in result["clips"]


def test_without_it_nothing_is_made_up() -> None:
    assert [name for name, _ in balanced(reverse=False)["clips"]] == [f"c{i}" for i in range(10)]
    assert balanced(reverse=False, size=0.4)["after"] == {"forward, straight": 3, "back, straight": 1}
    assert balanced() == balanced()
    with pytest.raises(InputError):
        Balance(size=1.5, reverse=False)
