"""Training the autoencoder's decoder, and the latent cache, on a tiny dataset of moving squares."""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gamecraft.dataset import ClipDataset, ClipRecord, ClipWriter
from gamecraft.errors import InputError
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.pictures import to_video
from gamecraft.training import autoencoder
from gamecraft.training.autoencoder import AutoencoderTraining, measure, reconstruction_loss, train_autoencoder
from gamecraft.training.config import build_config, load_recipe
from gamecraft.training.latents import LatentDataset, encode_dataset
from gamecraft.training.muon import MuonAdamW
from gamecraft.training.optimizers import Schedule
from gamecraft.training.run import RunFolder
from gamecraft.training.windows import WindowSampler

FRAMES, HEIGHT, WIDTH = 18, 32, 48


def moving_square(seed: int) -> ClipRecord:
    """A coloured square crossing a slanted background; the camera moves one metre a frame."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    background = (rows * random.integers(1, 4) + columns * random.integers(1, 4)) % 97
    frames = np.repeat(background[None, :, :, None], FRAMES, axis=0).repeat(3, axis=-1).astype(np.uint8)
    top, left = random.integers(0, HEIGHT - 12), random.integers(0, WIDTH - 12 - FRAMES)
    colour = random.integers(0, 256, size=3)
    for number, frame in enumerate(frames):
        frame[top : top + 12, left + number : left + number + 12] = colour
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, 2, 3] = np.arange(FRAMES)
    return ClipRecord(
        frames=frames,
        poses=poses,
        actions_json="[]",
        caption_short=f"square {seed}",
        caption_long="a square",
        theme="meadow",
        world_seed=seed,
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of four clips."""
    folder = tmp_path_factory.mktemp("squares")
    writer = ClipWriter(folder, fps=24, height=HEIGHT, width=WIDTH)
    for shard in range(2):
        writer.write(shard, [moving_square(4 * shard + number) for number in range(4)])
    return folder


@pytest.fixture
def config(dataset: Path, tmp_path: Path) -> AutoencoderTraining:
    return AutoencoderTraining(
        data=str(dataset),
        held_out=str(dataset),
        run=str(tmp_path / "run"),
        latent_channels=8,
        stage_channels=(16, 8),
        stage_blocks=(1, 1),
        batch_size=2,
        steps=6,
        image_every=3,
        evaluate_every=3,
        held_out_clips=2,
        compile=False,
        schedule=Schedule(warmup_steps=3, cooldown_steps=3),
        ema_decay=0.5,
        basis_clips=8,
    )


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_batches_depend_on_seed_and_number_alone(dataset: Path) -> None:
    first, second = (WindowSampler(ClipDataset(dataset), limit=5, seed=3) for _ in range(2))
    first.batch(0, size=4, frames=9)
    assert torch.equal(first.batch(7, size=4, frames=9), second.batch(7, size=4, frames=9))
    assert not torch.equal(first.batch(7, size=4, frames=9), first.batch(8, size=4, frames=9))


def test_videos_span_minus_one_to_one() -> None:
    frames = torch.tensor([0, 255, 127], dtype=torch.uint8).expand(1, 2, 4, 5, 3)
    video = to_video(frames)
    assert video.shape == (1, 3, 2, 4, 5)
    assert video[0, :, 0, 0, 0].tolist() == pytest.approx([-1, 1, -1 / 255])


def test_the_loss_is_zero_for_equal_videos_and_its_parts_add_up() -> None:
    video = torch.zeros(1, 3, 1, 4, 4)
    assert reconstruction_loss(video, video, l1_weight=1, edge_weight=1) == 0
    assert reconstruction_loss(video + 0.5, video, l1_weight=0, edge_weight=1).item() == pytest.approx(0.25)
    assert reconstruction_loss(video + 0.5, video, l1_weight=2, edge_weight=1).item() == pytest.approx(1.25)


def test_contrast_counts_wherever_it_is_but_not_if_it_stands_still_where_the_truth_moves() -> None:
    texture = torch.randn(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    moving = torch.cat([texture.roll(2 * frame, dims=-1) for frame in range(5)], dim=2)
    elsewhere, still = moving.roll(7, dims=-2), texture.expand_as(moving)
    flat = torch.zeros_like(moving)

    def contrast(decoded: torch.Tensor) -> float:
        losses = (
            reconstruction_loss(decoded, moving, l1_weight=0, edge_weight=0, contrast_weight=weight)
            for weight in (1, 0)
        )
        return float(next(losses) - next(losses))

    assert contrast(moving) == 0
    assert contrast(elsewhere) < contrast(still) / 3 < contrast(flat) / 3


def test_muon_moves_convolutions_in_place() -> None:
    layer = nn.Conv2d(4, 4, 3)
    before = layer.weight.detach().clone()
    optimizer = MuonAdamW([layer.weight], [layer.bias], muon_rate=0.1, adam_rate=0.1)  # type: ignore[list-item]
    layer(torch.randn(1, 4, 5, 5)).square().sum().backward()
    optimizer.step(0.5)
    update = (layer.weight.detach() - before).flatten(1)
    assert layer.weight.grad is None
    # An orthogonal step: all singular values are about the learning rate.
    assert torch.linalg.svdvals(update).tolist() == pytest.approx([0.05] * 4, rel=0.4)


def test_training_improves_on_the_linear_code(config: AutoencoderTraining) -> None:
    config = dataclasses.replace(config, steps=40, evaluate_every=20, latent_noise=0.0)
    train_autoencoder(config)
    records = RunFolder(config.run).records()
    assert [record["step"] for record in records] == [20, 40]
    assert records[-1]["psnr"] > records[-1]["psnr_linear"] + 0.1


def test_the_finished_model_is_in_the_run_folder(config: AutoencoderTraining) -> None:
    model = train_autoencoder(config)
    saved = AutoencoderPatchCode.from_pretrained(Path(config.run) / "vae")
    assert torch.equal(weights(saved), weights(model))


def stop_politely() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def die() -> None:
    raise ConnectionAbortedError


@pytest.mark.parametrize(("end", "resumed_step"), [(stop_politely, 3), (die, 2)])
def test_an_interrupted_run_continues_exactly(
    config: AutoencoderTraining, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], resumed_step: int
) -> None:
    whole = train_autoencoder(dataclasses.replace(config, run=config.run + "-whole"))
    config = dataclasses.replace(config, checkpoint_seconds=0)

    def end_during_evaluation(*_: object) -> dict[str, float]:
        end()
        return {}

    with monkeypatch.context() as patch, contextlib.suppress(ConnectionAbortedError):
        patch.setattr(autoencoder, "measure", end_during_evaluation)
        train_autoencoder(config)
    interrupted = RunFolder(config.run).load_checkpoint()
    assert interrupted is not None
    assert interrupted["step"] == resumed_step
    assert torch.equal(weights(train_autoencoder(config)), weights(whole))
    assert [record["step"] for record in RunFolder(config.run).records()] == [3, 6]


def test_training_does_not_change_the_latents(config: AutoencoderTraining, dataset: Path) -> None:
    model = train_autoencoder(config)
    initial = AutoencoderPatchCode.from_pretrained(Path(config.run) / "initial")
    video = to_video(torch.from_numpy(ClipDataset(dataset)[0].frames()[None, :9]))
    assert torch.equal(model.encode(video).latent_dist.mode(), initial.encode(video).latent_dist.mode())


def test_a_run_can_start_from_an_existing_autoencoder(config: AutoencoderTraining) -> None:
    first = train_autoencoder(config)
    start = str(Path(config.run) / "vae")
    for stages, keeps_decoder in (((16, 8), True), ((8, 8), False)):
        output = f"{config.run}-{stages[0]}"
        again = dataclasses.replace(config, start=start, steps=1, run=output, latent_channels=4, stage_channels=stages)
        assert torch.equal(train_autoencoder(again).basis, first.basis)
        initial = AutoencoderPatchCode.from_pretrained(Path(output) / "initial")
        assert tuple(initial.config.stage_channels) == stages
        assert bool(initial.decoder.conv_out.weight.any()) == keeps_decoder


def test_measure_reports_the_linear_code_for_an_untrained_decoder(config: AutoencoderTraining) -> None:
    clips = ClipDataset(config.data)
    model = autoencoder.fit_autoencoder(config, clips)
    result = measure(model, WindowSampler(clips, limit=2, seed=0).first_windows(9))
    assert result["psnr"] == pytest.approx(result["psnr_linear"])


class TestLatentCache:
    """Chunks of 9 frames start every 3 frames; 18 frames hold four."""

    @pytest.fixture
    def vae(self, config: AutoencoderTraining) -> AutoencoderPatchCode:
        return autoencoder.fit_autoencoder(config, ClipDataset(config.data))

    def test_it_holds_each_chunk_and_the_image_before_it(self, vae: AutoencoderPatchCode, dataset: Path) -> None:
        encode_dataset(vae, dataset, "whole")
        latents = LatentDataset(dataset, "whole")
        assert (len(latents), latents.chunks_per_clip, latents.latent_shape) == (8, 4, (8, 3, 4, 6))
        video = to_video(torch.from_numpy(ClipDataset(dataset)[5].frames()[None]))
        item = latents.chunk(5, 3)
        expected = vae.encode(video[:, :, 9:18]).latent_dist.mode()[0]
        torch.testing.assert_close(item.latents.float(), expected, atol=1e-2, rtol=1e-2)
        expected = vae.encode(video[:, :, 8:9]).latent_dist.mode()[0]
        torch.testing.assert_close(item.images[0].float(), expected, atol=1e-2, rtol=1e-2)
        assert item.clip.caption_short == "square 5"

    def test_history_ends_where_the_chunk_begins(self, vae: AutoencoderPatchCode, dataset: Path) -> None:
        encode_dataset(vae, dataset, "history")
        latents = LatentDataset(dataset, "history")
        item = latents.chunk(0, 3, history=2)
        assert len(item.history) == 1  # 18 frames have no second one
        assert torch.equal(item.history[0], latents.chunk(0, 0).latents)
        assert item.history_poses[0][:, 2, 3].tolist() == list(range(9))
        assert item.image_poses[:, 2, 3].tolist() == [8]
        assert item.poses[:, 2, 3].tolist() == list(range(9, 18))

    def test_an_interrupted_encoding_continues(self, vae: AutoencoderPatchCode, dataset: Path) -> None:
        encode_dataset(vae, dataset, "again")
        first, second = sorted((dataset / "latents" / "again").iterdir())
        whole, stamp = second.read_bytes(), first.stat().st_mtime_ns
        second.unlink()
        with pytest.raises(InputError, match="lacks 1 of 2"):
            LatentDataset(dataset, "again")
        encode_dataset(vae, dataset, "again")
        assert second.read_bytes() == whole
        assert first.stat().st_mtime_ns == stamp

    def test_processes_can_share_the_shards(self, vae: AutoencoderPatchCode, dataset: Path) -> None:
        encode_dataset(vae, dataset, "shared", part=(1, 2))
        assert [path.name for path in (dataset / "latents" / "shared").iterdir()] == ["00001.safetensors"]
        encode_dataset(vae, dataset, "shared", part=(0, 2))
        assert len(LatentDataset(dataset, "shared")) == 8

    def test_two_codes_do_not_mix(self, vae: AutoencoderPatchCode, dataset: Path) -> None:
        encode_dataset(vae, dataset, "mixed")
        other = AutoencoderPatchCode(latent_channels=8, stage_channels=(8,), stage_blocks=(1,))
        with pytest.raises(InputError, match="another cache name"):
            encode_dataset(other, dataset, "mixed")

    def test_the_chunk_length_must_have_thirds(self, vae: AutoencoderPatchCode, dataset: Path) -> None:
        with pytest.raises(InputError, match="multiple of 3"):
            encode_dataset(vae, dataset, "odd", chunk_frames=5)


def test_the_recipe_is_the_default_configuration() -> None:
    task, values = load_recipe(Path(__file__).parent.parent / "recipes" / "mini_vae.yaml")
    assert task == "autoencoder"
    recipe = build_config(AutoencoderTraining, values)
    assert recipe == AutoencoderTraining(data=recipe.data, held_out=recipe.held_out, run=recipe.run)
