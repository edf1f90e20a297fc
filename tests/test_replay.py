"""`gamecraft replay`: a session file becomes a video, or is verified."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gamecraft.actions import parse_script
from gamecraft.cli import main
from gamecraft.loading import load_pipeline
from gamecraft.session import Session
from gamecraft.video import read_video
from tiny import CHUNK, SIZE


@pytest.fixture(scope="module")
def saved(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of two chunks, with and (beside it, as "inputs") without latents."""
    session = Session(load_pipeline(model_folder))
    session.reset("village", seed=5)
    for script in ("w 5f", "left 5f"):
        session.step(parse_script(script))
    path = tmp_path_factory.mktemp("saved") / "play"
    session.save(path)
    session.save(path.with_name("inputs"), latents=False)
    return path


def replay(model_folder: Path, *words: object) -> int:
    return main(["replay", "--model", str(model_folder), *map(str, words)])


def test_the_video_is_the_same_from_latents_and_from_inputs(model_folder: Path, saved: Path, tmp_path: Path) -> None:
    assert replay(model_folder, saved, "--output", tmp_path / "a.mp4") == 0
    assert replay(model_folder, saved.with_name("inputs"), "--output", tmp_path / "b.mp4") == 0
    frames = read_video(tmp_path / "a.mp4")[0]
    assert frames.shape == (2 * CHUNK, *SIZE, 3)
    assert np.array_equal(frames, read_video(tmp_path / "b.mp4")[0])


def test_a_true_session_is_verified(model_folder: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(model_folder, saved, "--verify") == 0
    assert "all 2 chunks come out the same, bit for bit" in capsys.readouterr().out


def test_one_changed_bit_is_found(
    model_folder: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(saved)
    tensors["latents"][1, 0, 0, 0, 0] += 1e-6
    with safe_open(saved, framework="pt") as file:
        save_file(tensors, tmp_path / "other", file.metadata())
    assert replay(model_folder, tmp_path / "other", "--verify") == 1
    assert capsys.readouterr().err == "gamecraft replay: chunk 1 comes out differently\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["play"], "nothing to do"),
        (["play", "--output", "x.gif"], "ends in .mp4"),
        (["none", "--verify"], "there is no session"),
        (["inputs", "--verify"], "no stored latents"),
    ],
)
def test_what_makes_no_sense_is_refused(
    model_folder: Path, saved: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(model_folder, saved.with_name(words[0]), *words[1:]) == 2
    (printed,) = capsys.readouterr().err.splitlines()
    assert line in printed
