"""The commands around worlds, datasets, the gallery and model folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gamecraft.actions import parse_script
from gamecraft.assembly import assemble
from gamecraft.cli import main
from gamecraft.dataset import ClipDataset
from gamecraft.errors import CheckpointError
from gamecraft.gallery import gallery
from gamecraft.loading import load_pipeline
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.depth import DepthEstimator
from gamecraft.models.refiner import FrameRefiner
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.trajectory_io import read_trajectory
from gamecraft.video import read_video
from gamecraft.worlds.environment import LowPolyWorld


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- world -----------------------------------------------------------------------------------------------------------


def test_world_shows_the_truth_after_a_gallery_picture(folder: Path) -> None:
    assert main(["world", "--gallery", "village", "--actions", "w 6f, left 4f", "--output", "truth.mp4"]) == 0
    assert names(folder) == {"truth.mp4", "truth.png", "truth.trajectory.json"}
    start = gallery()["village"]
    world = LowPolyWorld(start.world_seed, start.theme)
    world.reset(start.camera, start.frame)
    frames, poses = [], []
    for action in parse_script("w 6f, left 4f"):
        frames.append(world.step(action))
        poses.append(world.state.pose())
    shown, rate = read_video("truth.mp4")
    assert rate == 24
    assert np.abs(shown.astype(int) - np.stack(frames)).mean() < 4  # but for the codec
    assert np.array_equal(read_trajectory("truth.trajectory.json").poses, np.stack(poses))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--actions", "hop 1s"], "unknown key"),
        (["--actions", "w 1f", "--theme", "moon"], "unknown theme"),
        (["--actions", "w 1f", "--gallery", "moon"], "no gallery picture 'moon'"),
        (["--actions", "w 1f", "--gallery", "snow", "--seed", "3"], "its own world"),
        (["--actions", "w 1f", "--seed", "-1"], "the seed is -1"),
        (["--actions", "w 1f", "--height", "0"], "height is 0"),
    ],
)
def test_world_refuses(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["world", "--output", "truth.mp4", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not names(folder)


# --- gallery ---------------------------------------------------------------------------------------------------------


def test_gallery_lists_and_exports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(gallery())
    assert main(["gallery", "snow", "village", "--export", "pictures"]) == 0
    assert names(folder / "pictures") == {"snow.png", "village.png"}
    assert Image.open("pictures/snow.png").size == (160, 96)
    assert main(["gallery", "moon"]) == 2
    assert "no gallery picture 'moon'" in capsys.readouterr().err


# --- render and sheet ------------------------------------------------------------------------------------------------


def test_render_records_with_several_processes_and_sheet_shows_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--worlds", "3", "--clips-per-world", "1", "--worlds-per-shard", "1", "--frames", "4"]
    assert main(["render", "--output", "data", *sizes, "--processes", "2", "--height", "48", "--width", "80"]) == 0
    dataset = ClipDataset("data")
    assert len(dataset) == 3
    assert [clip.world_seed for clip in dataset] == [0, 1, 2]
    assert main(["sheet", "data", "--clips", "2", "--frames", "3"]) == 0
    assert Image.open("data/sheet.png").size[0] > 3 * 240
    capsys.readouterr()
    assert main(["render", "--output", "data", *sizes]) == 2  # another size: the process's error is our error
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["render", "--output", "data", "--worlds", "0"],
        ["render", "--output", "data", "--processes", "0"],
        ["render", "--output", "data", "--first-seed", "999999", "--worlds", "5"],
        ["sheet", "data"],
        ["sheet", "data", "--clips", "0"],
    ],
)
def test_render_and_sheet_refuse(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not names(folder)


# --- package ---------------------------------------------------------------------------------------------------------


def test_package_puts_parts_together(
    model_folder: Path, folder: Path, pipe: GameCraftPipeline, picture: np.ndarray
) -> None:
    parts = [
        "--transformer",
        f"{model_folder}/transformer",
        "--autoencoder",
        f"{model_folder}/vae",
        "--text",
        str(model_folder),
    ]
    assert main(["package", *parts, "--output", "mine", "--dtype", "fp32", "--shift", "5", "--steps", "3"]) == 0
    made = load_pipeline("mine", dtype=torch.float32)
    assert made.config.num_inference_steps == 3
    assert made.scheduler.config.shift == 5
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        weights, expected = getattr(made, name).state_dict(), getattr(pipe, name).state_dict()
        assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert main(["package", *parts, "--output", "small"]) == 0
    assert load_pipeline("small").config.guidance_scale == 1.0
    half = sum(path.stat().st_size for path in Path("small").rglob("*.safetensors"))
    assert half < 0.6 * sum(path.stat().st_size for path in Path("mine").rglob("*.safetensors"))
    assert names(folder) == {"mine", "small"}
    assert main(["package", *parts, "--output", "mine"]) == 2


def test_a_scene_memory_and_its_refiner_are_packaged_together(model_folder: Path, folder: Path) -> None:
    parts = ["--transformer", f"{model_folder}/transformer", "--autoencoder", f"{model_folder}/vae"]
    parts += ["--text", str(model_folder), "--output", "mine"]
    DepthEstimator(channels=(8, 8), blocks=(1, 1)).save_pretrained("depth")
    FrameRefiner(channels=(8, 8), blocks=(1, 1)).save_pretrained("refiner")
    assert main(["package", *parts, "--refiner", "refiner"]) == 2
    assert names(folder) == {"depth", "refiner"}
    assert main(["package", *parts, "--refiner", "refiner", "--depth", "depth"]) == 0
    made = load_pipeline("mine")
    assert made.depth_estimator.config.channels == made.refiner.config.channels == [8, 8]


def test_parts_that_do_not_fit_are_refused(model_folder: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no folder"):
        assemble(Path("none"), model_folder / "vae", model_folder, Path("mine"), shift=1.0)
    AutoencoderPatchCode(latent_channels=6, stage_channels=(8,), stage_blocks=(1,)).save_pretrained("wide")
    with pytest.raises(CheckpointError, match="the transformer has out_channels 4, expected 6"):
        assemble(model_folder / "transformer", Path("wide"), model_folder, Path("mine"), shift=1.0)
    with pytest.raises(CheckpointError, match="holds a GameCraftTransformer3DModel"):
        assemble(model_folder / "transformer", model_folder / "transformer", model_folder, Path("mine"), shift=1.0)
    assert names(folder) == {"wide"}
