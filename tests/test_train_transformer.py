"""Training the transformer: it learns, resumes exactly, and its batches are what they say."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gamecraft.dataset import ClipDataset
from gamecraft.errors import CheckpointError, InputError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.chunk_batches import ChunkSampler, Dropping
from gamecraft.training.history_sampling import HistoryMix, OwnHistory
from gamecraft.training.latents import LatentDataset
from gamecraft.training.run import RunFolder, StopSignal
from gamecraft.training.transformer import TransformerTraining, train_transformer
from gamecraft.video import read_video
from training_cases import CLIPS, EVEN_MIX


@pytest.fixture
def data(recordings: Path) -> Path:
    return recordings


@pytest.fixture
def config(training: TransformerTraining) -> TransformerTraining:
    return training


def sampler(data: Path, mix: HistoryMix = EVEN_MIX, **changes: float) -> ChunkSampler:
    return ChunkSampler(
        LatentDataset(data, "tiny"),
        batch_size=3,
        seed=0,
        mix=mix,
        history_noise=changes.get("history_noise", 0.0),
        dropping=Dropping(caption=changes.get("caption", 0.0), action_with_caption=changes.get("action", 0.0)),
    )


def test_a_killed_run_gives_the_weights_of_an_uninterrupted_one(
    config: TransformerTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_transformer(config).state_dict()
    interrupted = replace(config, run=config.run + "-killed", checkpoint_minutes=0.0)
    log = RunFolder.log

    def killed(run: RunFolder, record: dict[str, float]) -> None:
        if record["step"] == 4:  # after the checkpoint of step 3, before that of step 4
            raise MemoryError
        log(run, record)

    monkeypatch.setattr(RunFolder, "log", killed)
    with pytest.raises(MemoryError):
        train_transformer(interrupted)
    monkeypatch.setattr(RunFolder, "log", log)
    assert RunFolder(interrupted.run).checkpoints()[-1].stem.endswith("3")
    resumed = train_transformer(interrupted).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [record["step"] for record in RunFolder(interrupted.run).records()]
    assert steps == [2, 4, 6, 6]


def test_a_stop_signal_ends_the_run_with_a_checkpoint(
    config: TransformerTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(signal: StopSignal) -> StopSignal:
        signal.requested = True
        return signal

    monkeypatch.setattr(StopSignal, "__enter__", stopped)
    train_transformer(config)
    assert [file.stem for file in RunFolder(config.run).checkpoints()] == ["checkpoint-000000000"]


def test_a_run_learns_and_leaves_model_log_and_samples(config: TransformerTraining) -> None:
    config = replace(config, max_steps=40, ema_decay=0.5, log_every=10, adamw_lr=5e-3)
    trained = train_transformer(config)
    folder = Path(config.run)
    saved = GameCraftTransformer3DModel.from_pretrained(folder / "transformer")
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in trained.state_dict().items())
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    assert losses[-1] < 0.9 * losses[0]
    measured = records[-1]
    assert measured["held_out"].keys() == {"loss", "clip@0.5", "image@0.5"}
    assert all(row.keys() == {"psnr", "psnr_freeze", "psnr_code", "psnr_latent"} for row in measured["samples"])
    assert (folder / "sheets" / "000040.png").stat().st_size > 0
    frames, fps = read_video(folder / "sheets" / "000040.mp4")
    assert (frames.shape, fps) == ((9, 2 * 32, 2 * 48, 3), 24)


def test_a_model_continues_what_it_made_itself(config: TransformerTraining, data: Path) -> None:
    given = replace(config, history_mix=HistoryMix(clip=1.0, clips=0.0, image=0.0), max_steps=1)
    weights = [
        train_transformer(replace(given, run=f"{config.run}-{share}", own_history=OwnHistory(share=share))).state_dict()
        for share in (0.0, 1.0)
    ]
    assert any(not torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    own = ChunkSampler(
        LatentDataset(data, "tiny"), batch_size=3, seed=0, mix=given.history_mix, history_noise=0.0,
        dropping=Dropping(), own_history=OwnHistory(share=1.0),
    )  # fmt: skip
    batch = own.draw(0, own.generator(0))
    assert batch.own_history
    assert batch.history_frames == (9, 9)


def test_accumulated_batches_are_different_batches(config: TransformerTraining) -> None:
    once = train_transformer(replace(config, max_steps=2))
    twice = train_transformer(replace(config, max_steps=2, accumulation=2, run=config.run + "-2"))
    assert not torch.equal(once.x_embedder.proj.weight, twice.x_embedder.proj.weight)


def test_a_run_starts_from_a_saved_transformer(config: TransformerTraining) -> None:
    config = replace(config, max_steps=1)
    first = train_transformer(config)
    folder = Path(config.run) / "transformer"
    frozen = replace(config, run=config.run + "-next", init_from=str(folder), muon_lr=0.0, adamw_lr=0.0)
    second = train_transformer(frozen)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_a_transformer_of_other_channels_is_refused(config: TransformerTraining, tmp_path: Path) -> None:
    other = GameCraftTransformer3DModel(
        in_channels=5, out_channels=2, num_attention_heads=1, attention_head_dim=16, num_layers=1, num_single_layers=1,
        rope_axes_dim=(4, 6, 6), text_embed_dim=8, pooled_projection_dim=8,
    )  # fmt: skip
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="in_channels 5"):
        train_transformer(replace(config, init_from=str(tmp_path / "other")))


def test_missing_text_encoders_are_named(config: TransformerTraining, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="text_encoder"):
        train_transformer(replace(config, text=str(tmp_path)))


def test_a_batch_depends_on_its_number_alone(data: Path) -> None:
    drawn = sampler(data)
    again = sampler(data)
    for number in (3, 0, 3):
        first, second = (s.draw(number, s.generator(number)) for s in (drawn, again))
        assert torch.equal(first.latents, second.latents)
        assert torch.equal(first.history.latents, second.history.latents)
        assert first.captions == second.captions
    assert not torch.equal(drawn.draw(1, drawn.generator(1)).latents, drawn.draw(2, drawn.generator(2)).latents)


def test_every_recording_is_drawn_equally_often(data: Path) -> None:
    drawn = sampler(data)
    worlds = [caption[-1] for n in range(CLIPS * 2) for caption in drawn.draw(n, drawn.generator(n)).captions]
    assert {worlds.count(str(clip)) for clip in range(CLIPS)} == {6}


@pytest.mark.parametrize(("kind", "frames"), [("clip", (9,)), ("clips", (9, 9)), ("image", (1,))])
def test_the_history_ends_where_the_chunk_begins(data: Path, kind: str, frames: tuple[int, ...]) -> None:
    mix = HistoryMix(**{name: float(name == kind) for name in ("clip", "clips", "image")})
    drawn = sampler(data, mix)
    batch = drawn.draw(0, drawn.generator(0))
    assert batch.history_frames == frames
    track = np.concatenate([*batch.history.poses, batch.poses], axis=1)
    clips = ClipDataset(data)
    for poses, caption in zip(track, batch.captions, strict=True):
        recorded = clips[int(caption[-1])].poses
        start = int(np.abs(recorded - poses[0]).sum(axis=(1, 2)).argmin())
        np.testing.assert_array_equal(poses, recorded[start : start + len(poses)])
    relative = batch.relative_poses()
    assert relative.shape == (3, sum(frames) + 9, 4, 4)
    eye = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    torch.testing.assert_close(relative[:, sum(frames) - 1], eye, atol=1e-9, rtol=0)


def test_dropped_conditions_are_an_empty_caption_and_a_camera_that_stands_still(data: Path) -> None:
    drawn = sampler(data, caption=1.0, action=1.0)
    batch = drawn.draw(0, drawn.generator(0))
    assert batch.captions == ("", "", "")
    still = torch.eye(4, dtype=torch.float64).expand(3, 9, 4, 4)
    torch.testing.assert_close(batch.relative_poses()[:, -9:], still, atol=1e-9, rtol=0)


def test_history_noise_leaves_the_chunk_clean(data: Path) -> None:
    exact, noisy = sampler(data), sampler(data, history_noise=0.15)
    first, second = (s.draw(0, s.generator(0)) for s in (exact, noisy))
    assert torch.equal(first.latents, second.latents)
    difference = (second.history.latents - first.history.latents).std()
    assert 0 < float(difference) < 0.15
