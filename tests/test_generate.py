"""`gamecraft generate`: the files it writes, what it refuses, and how it stops, resumes and repeats."""

import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gamecraft.actions import Action
from gamecraft.cli import main
from gamecraft.gallery import gallery
from gamecraft.session import Session
from gamecraft.video import read_video, write_video

SCRIPT = "w 6f, d+right 5f, look:up 9deg over 3f"  # 14 frames: 5, 5 and 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder: Path, picture: np.ndarray) -> Path:
    path = folder / "start.png"
    Image.fromarray(picture).save(path)
    return path


def generate(model_folder: Path | str, *words: object, output: str = "out.mp4") -> int:
    return main(["generate", "--model", str(model_folder), "--output", output, *map(str, words)])


def frames(path: str) -> np.ndarray:
    return read_video(path)[0]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"start.png"}


def the_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


# --- files -----------------------------------------------------------------------------------------------------------


def test_video_sheet_and_sidecar(model_folder: Path, folder: Path, start: Path) -> None:
    assert generate(model_folder, "--image", start, "--prompt", "a village", "--actions", SCRIPT, "--seed", 3) == 0
    assert names(folder) == {"out.mp4", "out.png", "out.json"}
    assert frames("out.mp4").shape == (14, 32, 48, 3)
    assert Image.open("out.png").size[0] > 5 * 240
    sidecar = json.loads(Path("out.json").read_text())
    assert sidecar["complete"] is True
    assert [chunk["frames"] for chunk in sidecar["chunks"]] == [5, 5, 4]
    assert all(chunk["seconds"] > 0 for chunk in sidecar["chunks"])
    assert sidecar["settings"]["seed"] == 3
    assert sidecar["settings"]["steps"] == 2
    assert {"torch", "diffusers", "gamecraft"} <= set(sidecar["versions"])
    assert len(sidecar["model"]["sha256"]) == 64


def test_from_a_sidecar_comes_the_same_video(model_folder: Path, folder: Path, start: Path) -> None:
    options = (
        "--steps",
        3,
        "--guidance",
        2.5,
        "--smoothing",
        0.4,
        "--speed",
        0.3,
        "--turn",
        5,
        "--negative-prompt",
        "fog",
    )
    assert generate(model_folder, "--image", "start.png", "--actions", SCRIPT, *options) == 0
    Path("below").mkdir()
    os.chdir("below")
    assert main(["generate", "--from", "../out.json", "--output", "again.mp4"]) == 0
    assert np.array_equal(frames("again.mp4"), frames("../out.mp4"))
    again, first = (json.loads(Path(name).read_text()) for name in ("again.json", "../out.json"))
    assert again["settings"] == first["settings"]
    assert main(["generate", "--from", "../out.json", "--seed", "9", "--output", "other.mp4"]) == 0
    assert not np.array_equal(frames("other.mp4"), frames("../out.mp4"))


def test_a_gallery_name_brings_its_caption(model_folder: Path, folder: Path) -> None:
    assert generate(model_folder, "--image", "snow", "--actions", "w 2f") == 0
    settings = json.loads(Path("out.json").read_text())["settings"]
    assert settings["prompt"] == gallery()["snow"].caption_long
    assert settings["image"] == "snow"


def test_a_video_goes_on(model_folder: Path, folder: Path) -> None:
    clip = np.random.default_rng(3).integers(0, 256, (8, 40, 60, 3), dtype=np.uint8)
    write_video(Path("clip.mp4"), clip, 24)
    assert generate(model_folder, "--video", "clip.mp4", "--actions", "w 5f", "--height", 16, "--width", 32) == 0
    assert frames("out.mp4").shape == (5, 16, 32, 3)


def test_speed_and_turn_are_for_keys_without_their_own(model_folder: Path, start: Path) -> None:
    script = "w 5f, w 5f speed 0.1"
    assert generate(model_folder, "--image", start, "--actions", script, "--speed", 0.5, output="fast.mp4") == 0
    explicit = "w 5f speed 0.5, w 5f speed 0.1"
    assert generate(model_folder, "--image", start, "--actions", explicit, output="same.mp4") == 0
    assert np.array_equal(frames("fast.mp4"), frames("same.mp4"))


# --- stopping and resuming -------------------------------------------------------------------------------------------


@contextmanager
def ctrl_c_in_chunk(number: int) -> Iterator[None]:
    """Ctrl-C is pressed when that chunk begins."""
    step = Session.step

    def interrupted(self: Session, actions: list[Action], **arguments: Any) -> Any:
        if self.num_chunks == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, actions, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "step", interrupted)
        yield


@pytest.fixture
def stopped(model_folder: Path, start: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What an interrupted generation says."""
    with ctrl_c_in_chunk(1):
        assert generate(model_folder, "--image", start, "--actions", SCRIPT, "--smoothing", 0.5) == 130
    return the_line(capsys)


def test_ctrl_c_keeps_what_there_is_and_resume_makes_the_rest(model_folder: Path, folder: Path, stopped: str) -> None:
    assert "stopped after 5 of 14 frames" in stopped
    assert names(folder) == {"out.mp4", "out.png", "out.json", "out.session.safetensors"}
    part = frames("out.mp4")
    assert len(part) == 5
    assert json.loads(Path("out.json").read_text())["complete"] is False
    Path(".out.mp4.1.tmp").write_text("left by a process that was killed")
    assert main(["generate", "--resume", "--output", "out.mp4"]) == 0
    assert names(folder) == {"out.mp4", "out.png", "out.json"}
    assert generate(model_folder, "--image", "start.png", "--actions", SCRIPT, "--smoothing", 0.5, output="a.mp4") == 0
    assert np.array_equal(frames("out.mp4"), frames("a.mp4"))
    resumed, whole = (json.loads(Path(name).read_text()) for name in ("out.json", "a.json"))
    assert [chunk["frames"] for chunk in resumed["chunks"]] == [5, 5, 4]
    for values in (resumed, whole):
        del values["chunks"]
    assert resumed == whole
    assert Path("out.png").read_bytes() == Path("a.png").read_bytes()


def test_ctrl_c_before_the_first_chunk_leaves_nothing(model_folder: Path, folder: Path, start: Path) -> None:
    with ctrl_c_in_chunk(0):
        assert generate(model_folder, "--image", start, "--actions", SCRIPT) == 130
    assert names(folder) == set()


def test_after_a_crash_the_rest_is_resumed_too(
    model_folder: Path, folder: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--image", start, "--actions", SCRIPT)
    step = Session.step

    def crash(self: Session, actions: list[Action], **arguments: Any) -> Any:
        if self.num_chunks == 2:
            raise RuntimeError
        return step(self, actions, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "step", crash)
        with pytest.raises(RuntimeError):
            generate(model_folder, *words)
    assert names(folder) == {"out.session.safetensors"}
    assert main(["generate", "--resume", "--output", "out.mp4"]) == 0
    assert generate(model_folder, *words, output="whole.mp4") == 0
    assert np.array_equal(frames("out.mp4"), frames("whole.mp4"))


def test_resume_needs_an_interrupted_generation_and_nothing_else(
    folder: Path, stopped: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--resume", "--output", "other.mp4"]) == 2
    assert "nothing to resume" in the_line(capsys)
    assert main(["generate", "--resume", "--seed", "4", "--output", "out.mp4"]) == 2
    assert "takes all settings" in the_line(capsys)
    Path("out.session.safetensors").write_bytes(b"damaged")
    assert main(["generate", "--resume", "--output", "out.mp4"]) == 2
    assert "cannot be read as a session" in the_line(capsys)


# --- what is refused: exit code 2, one line, no files ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--actions", "w 5f"], "either --image or --video"),
        (["--image", "start.png"], "--actions is missing"),
        (["--image", "start.png", "--actions", ""], "script is empty"),
        (["--image", "start.png", "--actions", "w 0f"], "shorter than one frame"),
        (["--image", "start.png", "--actions", "w 1s, hop 2s"], "unknown key 'hop'"),
        (["--image", "start.png", "--actions", "w 1s speed 9"], "9 is out of range"),
        (["--image", "start.png", "--actions", "w 5f", "--speed", "0.6"], "speed is 0.6, expected 0 to 0.5"),
        (["--image", "start.png", "--actions", "w 5f", "--speed", "nan"], "speed is nan"),
        (["--image", "start.png", "--actions", "w 5f", "--turn", "-1"], "turn is -1"),
        (["--image", "start.png", "--actions", "w 5f", "--smoothing", "1"], "smoothing is 1"),
        (["--image", "start.png", "--actions", "w 5f", "--steps", "0"], "number of steps is 0"),
        (["--image", "start.png", "--actions", "w 5f", "--guidance", "0"], "guidance scale is 0"),
        (["--image", "start.png", "--actions", "w 5f", "--seed", "-3"], "seed is -3"),
        (["--image", "start.png", "--actions", "w 5f", "--seed", "x"], "invalid int value"),
        (["--image", "start.png", "--actions", "w 5f", "--width", "50"], "multiples of 16"),
        (["--image", "start.png", "--video", "v.mp4", "--actions", "w 5f"], "not allowed with"),
        (["--image", "none.png", "--actions", "w 5f"], "no image at none.png"),
        (["--image", "text.txt", "--actions", "w 5f"], "text.txt is not an image"),
        (["--image", "cut.png", "--actions", "w 5f"], "cut.png cannot be read as an image"),
        (["--image", ".", "--actions", "w 5f"], "cannot be read as an image"),
        (["--video", "none.mp4", "--actions", "w 5f"], "no video at none.mp4"),
        (["--video", "text.txt", "--actions", "w 5f"], "cannot be read as a video"),
        (["--from", "none.json"], "there is no file none.json"),
        (["--from", "text.txt"], "cannot be read as JSON"),
        (["--from", "other.json"], "was not written by"),
        (["--frmo", "x"], "unrecognized arguments"),
    ],
)
def test_bad_options(
    model_folder: Path, start: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    folder = start.parent
    Path("text.txt").write_text("hello")
    Path("other.json").write_text("{}")
    Path("cut.png").write_bytes(start.read_bytes()[:600])
    before = names(folder)
    assert generate(model_folder, *words) == 2
    assert message in the_line(capsys)
    assert names(folder) == before


@pytest.mark.parametrize("output", ["out.avi", ".", "text.txt/out.mp4", "/proc/nowhere/out.mp4"])
def test_bad_outputs(
    model_folder: Path, folder: Path, start: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    Path("text.txt").write_text("hello")
    assert generate(model_folder, "--image", start, "--actions", "w 5f", output=output) == 2
    the_line(capsys)
    assert names(folder) == {"text.txt"}


def test_bad_model_folders(folder: Path, start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    for model in ("none", "empty", "start.png"):
        assert generate(model, "--image", start, "--actions", "w 5f") == 2
        assert model in the_line(capsys)
    assert names(folder) == {"empty"}


@pytest.mark.parametrize("room", [3000, 12_500])  # too little for the session, for the video
def test_a_full_disk_leaves_no_half_video(
    model_folder: Path, folder: Path, start: Path, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        code = generate(model_folder, "--image", start, "--actions", "w 30f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    assert "File too large" in the_line(capsys)
    assert names(folder) <= {"out.session.safetensors"}


def test_a_changed_model_or_start_is_not_taken_for_the_same(
    model_folder: Path, folder: Path, start: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: Any
) -> None:
    copied = tmp_path_factory.mktemp("copied") / "model"
    shutil.copytree(model_folder, copied)
    assert generate(copied, "--image", start, "--actions", "w 3f") == 0
    config = copied / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("5.0", "4.0"))
    capsys.readouterr()
    assert main(["generate", "--from", "out.json", "--output", "b.mp4"]) == 2
    assert "made with another model" in the_line(capsys)
    config.write_text(config.read_text().replace("4.0", "5.0"))
    Image.new("RGB", (48, 32)).save(start)
    assert main(["generate", "--from", "out.json", "--output", "b.mp4"]) == 2
    assert "not the start" in the_line(capsys)
    assert main(["generate", "--from", "out.json", "--image", str(start), "--output", "b.mp4"]) == 0
