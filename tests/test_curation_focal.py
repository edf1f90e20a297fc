"""Unknown lenses: what clips tell of them, and when they are believed."""

import json
from pathlib import Path

import numpy as np
import pytest

from curation_material import pan
from gamecraft.actions import motion, parse_script
from gamecraft.curation import focal
from gamecraft.curation.curate import curate
from gamecraft.curation.focal import Focal, estimate_focal
from gamecraft.curation.lens import lens_window, square_lens
from gamecraft.curation.settings import load_settings
from gamecraft.curation.store import Store, Unit
from gamecraft.dataset import ClipDataset
from gamecraft.intrinsics import Intrinsics
from gamecraft.video import write_video
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.renderer import Renderer

WIDTH, HEIGHT = 320, 180


def play(script: str, fx: float) -> np.ndarray:
    """A village seen through a lens, uint8 [F, 180, 320, 3]."""
    world = LowPolyWorld(5, "village", renderer=Renderer(HEIGHT, WIDTH, intrinsics=square_lens(fx, WIDTH, HEIGHT)))
    first = world.reset(world.spawn(np.random.default_rng(0)))
    return np.stack([first, *(world.move(row) for row in motion(parse_script(script)))])


@pytest.mark.parametrize("fx", [0.42, 0.7])
def test_a_turn_tells_the_focal_length(fx: float) -> None:
    found = estimate_focal(play("right 40f", fx))
    assert found == pytest.approx(fx, rel=0.03)


def test_a_small_turn_tells_nothing() -> None:
    assert estimate_focal(play("look:right 5deg over 20f", 0.5)) is None


@pytest.mark.parametrize(
    ("estimates", "fx"),
    [
        ([0.5, 0.51, 0.49, None], 0.5),
        ([0.5, 0.51, None, None], None),  # too few
        ([0.3, 0.5, 0.7, 0.9], None),  # no agreement
        ([0.5, 0.5, 0.51, 1.9], 0.505),  # one is wrong
    ],
)
def test_clips_must_agree(
    estimates: list[float | None], fx: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", pan(1, 40), 24)
    left = list(estimates)
    monkeypatch.setattr(focal, "estimate_focal", lambda frames: left.pop(0))
    unit = Unit(name="a", inputs={"clips": [0, 10, 20, 30], "frames": 10, "fps": 24}, place=str(tmp_path / "a.mp4"))
    result = Focal().process(unit, Store(tmp_path))
    assert result["fx"] == fx
    assert result["estimates"] == [[first, value] for first, value in zip((0, 10, 20, 30), estimates, strict=True)]


def test_clips_are_cut_for_the_lens_that_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scenedetect")
    write_video(tmp_path / "raw" / "a.mp4", pan(1, 50), 24)
    target = Intrinsics(fx=0.6, fy=1.0)
    options = ["split.frames=12", "picture.sharpness=0.02", "text.samples=0", "poses.source=test_curation_focal:still"]
    options += ["write.width=80", "write.height=48", f"lens.fx={target.fx}", f"lens.fy={target.fy}"]
    monkeypatch.setattr(focal, "estimate_focal", lambda frames: 0.45)
    curate([tmp_path / "raw"], tmp_path / "dataset", load_settings(None, options))
    windows = [json.loads(clip.provenance_json)["window"] for clip in ClipDataset(tmp_path / "dataset")]
    assert windows
    np.testing.assert_allclose(windows, [lens_window(square_lens(0.45, 160, 96), target)] * len(windows), atol=1e-6)


def still(frames: np.ndarray, lens: Intrinsics) -> tuple[np.ndarray, float]:
    """A pose plug-in: the camera stands still; it is told the lens that was found."""
    assert lens.fx == pytest.approx(0.45)
    return np.tile(np.eye(4), (len(frames), 1, 1)), 1.0
