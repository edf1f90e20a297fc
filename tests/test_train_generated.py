"""Latents that a model generated, for the autoencoder's decoder to learn on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gamecraft.models.depth import DepthEstimator
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.training.autoencoder import AutoencoderTraining, train_autoencoder
from gamecraft.training.generated import GeneratedSettings, generated_chunks
from gamecraft.training.latents import LatentDataset
from gamecraft.training.run import RunFolder

PER_FILE = 32


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


def test_clips_are_continued_by_two_chunks_along_their_cameras(player: Path, recordings: Path, tmp_path: Path) -> None:
    settings = GeneratedSettings(model=str(player), latents="tiny", chunks=PER_FILE + 1)
    made = generated_chunks(settings, str(recordings), tmp_path / "made", seed=0)
    assert len(made) == len(list(made)) == 2 * PER_FILE

    dataset = LatentDataset(recordings, "tiny")
    latents, frames = made.batch(3, size=8)
    assert latents.shape == (8, *dataset.latent_shape)
    assert frames.shape == (8, 9, 32, 48, 3)
    assert torch.equal(latents, made.batch(3, size=8)[0])
    assert not torch.equal(latents, made.batch(4, size=8)[0])

    shown = torch.stack([frames for _, frames in made])
    first, second = shown[:16], shown[16:32]  # of one file
    videos = [dataset.clip(number).frames() for number in range(len(dataset))]
    for one, two in zip(first.numpy(), second.numpy(), strict=True):
        whole = np.concatenate([one, two])
        assert any((video[at : at + 18] == whole).all() for video in videos for at in range(len(video) - 17))


def test_what_is_there_is_kept_and_what_is_not_is_made_again_alike(
    player: Path, recordings: Path, tmp_path: Path
) -> None:
    settings = GeneratedSettings(model=str(player), latents="tiny", chunks=2 * PER_FILE)
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
        generated=GeneratedSettings(model=str(player), latents="tiny", chunks=1, share=0.0),
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
