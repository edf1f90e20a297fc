"""Chunks that a model generated, for its decoder and its refiner to learn on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gamecraft.dataset import ClipDataset
from gamecraft.errors import InputError
from gamecraft.models.depth import DepthEstimator
from gamecraft.models.refiner import FrameRefiner
from gamecraft.pictures import to_video
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.training.autoencoder import AutoencoderTraining, train_autoencoder
from gamecraft.training.generated import GeneratedSettings, generated_chunks
from gamecraft.training.optimizers import Schedule
from gamecraft.training.refiner import RefinerTraining, train_refiner
from gamecraft.training.run import RunFolder
from tiny import CHUNK

PER_FILE = 48


@pytest.fixture(scope="module", params=["blind", "with a scene memory"])
def player(request: pytest.FixtureRequest, pipe: GameCraftPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("player")
    if request.param == "blind":
        pipe.save_pretrained(folder)
    else:
        torch.manual_seed(0)
        estimator = DepthEstimator(channels=(8, 8), blocks=(1, 1))
        GameCraftPipeline(**{**pipe.components, "depth_estimator": estimator}, **_numbers(pipe)).save_pretrained(folder)
    return folder


def _numbers(pipe: GameCraftPipeline) -> dict[str, object]:
    return {k: v for k, v in pipe.config.items() if not k.startswith("_") and k not in pipe.components}


def test_clips_are_continued_along_their_cameras(player: Path, recordings: Path, tmp_path: Path) -> None:
    settings = GeneratedSettings(model=str(player), chunks=PER_FILE + 1)
    made = generated_chunks(settings, str(recordings), tmp_path / "made", seed=0)
    assert len(made) == 2 * PER_FILE

    batch = made.batch(3, size=8)
    assert batch["latents"].shape == (8, 4, 2, 4, 6)
    assert batch["true"].shape == batch["decoded"].shape == batch["drawn"].shape == (8, 3, CHUNK, 32, 48)
    assert torch.equal(batch["latents"], made.batch(3, size=8)["latents"])
    assert not torch.equal(batch["latents"], made.batch(4, size=8)["latents"])

    videos = [to_video(clip.frames()) for clip in ClipDataset(recordings)]
    first, second = made.at(range(16))["true"], made.at(range(16, 32))["true"]  # of one file
    for one, two in zip(first, second, strict=True):
        whole = torch.cat([one, two], dim=1)
        places = [(video, at) for video in videos for at in range(video.shape[2] - 2 * CHUNK + 1)]
        assert any(torch.equal(video[0, :, at : at + 2 * CHUNK], whole) for video, at in places)


def test_a_scene_memory_draws_what_is_generated(player: Path, recordings: Path, tmp_path: Path) -> None:
    made = generated_chunks(GeneratedSettings(model=str(player), chunks=1), str(recordings), tmp_path, seed=0)
    covered = made.at(range(len(made)))["covered"]
    assert bool(((covered == 0) | (covered == 1)).all())
    assert bool(covered.any()) == (player / "depth_estimator").is_dir()


def test_the_refiner_takes_what_is_drawn_where_that_is_better(player: Path, recordings: Path, tmp_path: Path) -> None:
    config = RefinerTraining(
        data=str(recordings),
        held_out=str(recordings),
        run=str(tmp_path / "run"),
        generated=GeneratedSettings(model=str(player), chunks=1),
        channels=(8, 8),
        blocks=(1, 1),
        batch_size=2,
        steps=20,
        schedule=Schedule(warmup_steps=1, cooldown_steps=5),
        ema_decay=0.5,
        compile=False,
    )
    if not (player / "depth_estimator").is_dir():
        with pytest.raises(InputError, match="no scene memory"):
            train_refiner(config)
        return
    refiner = train_refiner(config)
    record = RunFolder(config.run).records()[-1]
    assert record["psnr"] > record["psnr_decoded"]
    again = FrameRefiner.from_pretrained(tmp_path / "run" / "refiner").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in refiner.state_dict().items())


def test_what_is_there_is_kept_and_what_is_not_is_made_again_alike(
    player: Path, recordings: Path, tmp_path: Path
) -> None:
    settings = GeneratedSettings(model=str(player), chunks=2 * PER_FILE)
    for _ in range(2):
        generated_chunks(settings, str(recordings), tmp_path, seed=7)
        one, two = sorted(tmp_path.iterdir())
        written, age = two.read_bytes(), one.stat().st_mtime_ns
        two.unlink()
    generated_chunks(settings, str(recordings), tmp_path, seed=7)
    assert two.read_bytes() == written
    assert one.stat().st_mtime_ns == age


def test_the_decoder_learns_on_what_the_model_generates(player: Path, recordings: Path, tmp_path: Path) -> None:
    config = AutoencoderTraining(
        data=str(recordings),
        held_out=str(recordings),
        run=str(tmp_path / "encoded"),
        start=str(player / "vae"),
        stage_channels=(8, 8),
        stage_blocks=(1, 1),
        batch_size=2,
        steps=3,
        held_out_clips=1,
        compile=False,
        generated=GeneratedSettings(model=str(player), chunks=1, share=0.0),
    )
    all_generated = replace(config, run=str(tmp_path / "generated"), generated=replace(config.generated, share=1.0))
    plain = replace(config, run=str(tmp_path / "plain"), generated=None)
    encoded, generated, neither = (train_autoencoder(each).state_dict() for each in (config, all_generated, plain))
    assert all(torch.equal(encoded[name], neither[name]) for name in encoded)
    assert not all(torch.equal(encoded[name], generated[name]) for name in encoded)
    assert torch.equal(encoded["basis"], generated["basis"])
    record = RunFolder(all_generated.run).records()[-1]
    assert record["sharpness_generated"] > 0
    assert 0 < record["psnr_generated"] < 60
