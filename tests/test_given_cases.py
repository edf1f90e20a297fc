"""One's own clips and pictures can be evaluated like worlds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gamecraft.dataset import ClipWriter
from gamecraft.errors import InputError
from gamecraft.evaluation.given_cases import clip_case, count_given, picture_case
from gamecraft.evaluation.run import EvaluationSettings, evaluate
from gamecraft.evaluation.signals import Signal
from gamecraft.evaluation.suites import SUITES
from gamecraft.evaluation.summary import summarise
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.recorder import record_clip

SIZES = {"chunk_frames": 9, "height": 96, "width": 160}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clips")
    world = LowPolyWorld(1_000_000)
    ClipWriter(folder, fps=24, height=96, width=160).write(0, [record_clip(world, frames=19, seed=s) for s in range(2)])
    return str(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(
            folder / f"{name}.png"
        )
    (folder / "b.txt").write_text("a harbour\n")
    return str(folder)


def test_a_clip_is_history_and_truth(clips: str, tmp_path: Path) -> None:
    case = clip_case(clips, 1, chunks=1, **SIZES)
    assert case.frames is not None
    assert case.frames.shape == (1, 9, 96, 160, 3)
    assert case.start.frames.shape == (9, 96, 160, 3)
    assert case.start.state.pose() == pytest.approx(case.start.poses[-1])
    settings = EvaluationSettings(suite="play", data=clips, model="freeze", output=str(tmp_path), chunks=1)
    assert settings.starts == count_given(clips) == 2
    summary = summarise(evaluate(settings))
    assert summary["overall"]["truth"]["ssim"][0]["mean"] == pytest.approx(1)
    assert summary["overall"]["freeze"] == summary["overall"]["model"]


def test_clips_that_do_not_fit_are_refused(clips: str) -> None:
    with pytest.raises(InputError, match="has 19 frames; history and 2 chunks take 27"):
        clip_case(clips, 0, chunks=2, **SIZES)
    with pytest.raises(InputError, match="is 96x160 pixels, the model 32x48"):
        clip_case(clips, 0, chunks=1, chunk_frames=9, height=32, width=48)
    with pytest.raises(InputError, match="3 were asked for"):
        EvaluationSettings(suite="play", data=clips, starts=3)


def test_a_picture_has_a_path_but_no_truth(pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: signal for name, signal in SUITES["control"].signals.items() if name in ("idle to w", "w to s")}
    monkeypatch.setitem(SUITES, "control", dataclasses.replace(SUITES["control"], signals=few))
    case = picture_case(pictures, 1, "d", Signal(keys="d"), chunks=2, **SIZES)
    assert case.frames is None
    assert case.start.prompt == "a harbour"
    assert case.poses[-1, -1, 0, 3] == pytest.approx(0.2 * 18)
    settings = EvaluationSettings(
        suite="control", data=pictures, model="warp", output=str(tmp_path / "out"), chunks=1, starts=1
    )
    summary = summarise(evaluate(settings))
    assert list(summary["overall"]) == ["model", "freeze"]
    assert "psnr" not in summary["overall"]["model"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        count_given(str(tmp_path / "empty"))
