"""Train the decoder of the embedded model's autoencoder; its linear code is fitted first and never changes."""

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F

from gamecraft.dataset import ClipDataset
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.patch_code import PatchBasis, fit_basis
from gamecraft.training.muon import MuonAdamW
from gamecraft.training.optimizers import Schedule, learning_rate_factor
from gamecraft.training.run import Ema, RunFolder, StopSignal
from gamecraft.training.windows import ClipSource, WindowSampler, to_video

__all__ = [
    "AutoencoderTrainingConfig",
    "fit_autoencoder",
    "local_contrast",
    "measure",
    "reconstruction_loss",
    "train_autoencoder",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AutoencoderTrainingConfig:
    """A training run of `AutoencoderPatchCode`. The defaults are the embedded model's recipe.

    data, held_out: dataset folders. output: run folder; the model appears there as `vae/`.
    start: folder of an autoencoder whose code to keep, and its decoder if that has the stages wanted here; without it
    the code is fitted on `data`.
    frames: length of the training windows, the model's chunk. image_every: every so manieth batch is single frames.
    latent_noise: up to this standard deviation is added to the latents (mean square 1): generated ones are not exact.
    l1_weight, edge_weight: of the absolute error and of the absolute error of neighbour differences, beside the squared
    error (all on [-1, 1] values). contrast_weight: of the absolute error of how much neighbours differ around a pixel,
    wherever exactly: squared errors alone make soft what they cannot place. clip_limit: clips kept in memory.
    """

    data: str
    held_out: str
    output: str
    start: str | None = None
    latent_channels: int = 24
    whitening_power: float = 0.5
    stage_channels: tuple[int, ...] = (192, 96, 48)
    stage_blocks: tuple[int, ...] = (3, 4, 3)
    frames: int = 9
    image_every: int = 8
    batch_size: int = 8
    steps: int = 8000
    muon_rate: float = 0.01
    adam_rate: float = 1e-3
    schedule: Schedule = field(default_factory=lambda: Schedule(warmup_steps=100, cooldown_steps=3000))
    latent_noise: float = 0.15
    l1_weight: float = 0.02
    edge_weight: float = 0.02
    contrast_weight: float = 0.1
    ema_decay: float = 0.998
    clip_limit: int = 1500
    basis_clips: int = 400
    held_out_clips: int = 48
    evaluate_every: int = 500
    checkpoint_seconds: float = 120.0
    compile: bool = True
    seed: int = 0


def reconstruction_loss(
    decoded: Tensor, video: Tensor, *, l1_weight: float, edge_weight: float, contrast_weight: float = 0.0
) -> Tensor:
    """Squared error plus weighted absolute errors of values, of differences between neighbours, and of their contrast.

    decoded, video: [B, 3, F, H, W]. The squared error gives the PSNR; the others keep flat areas flat and edges sharp.
    """
    decoded = decoded.float()
    error = decoded - video
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    loss = error.square().mean() + l1_weight * error.abs().mean() + edge_weight * edges
    if contrast_weight:
        loss = loss + contrast_weight * (local_contrast(decoded) - local_contrast(video)).abs().mean()
    return loss


def local_contrast(video: Tensor) -> Tensor:
    """Root mean squared difference of neighbours in squares of 5x5 pixels, every second pixel: [B, 1, F, h, w].

    Args:
        video: [B, C, F, H, W].
    """
    right, down = (
        video.diff(dim=axis).square()[..., : video.shape[-2] - 1, : video.shape[-1] - 1] for axis in (-1, -2)
    )
    energy = (right + down).mean(dim=1).flatten(0, 1)[:, None]
    around = (F.avg_pool2d(energy, 5, stride=2) + 1e-4).sqrt()
    return around.reshape(len(video), 1, -1, *around.shape[2:])


def fit_autoencoder(config: AutoencoderTrainingConfig, clips: ClipSource) -> AutoencoderPatchCode:
    """An autoencoder with the linear code of `config.basis_clips` clips and an untrained decoder."""
    sampler = WindowSampler(clips, limit=config.basis_clips, seed=config.seed)
    videos = (to_video(windows) for windows in sampler.first_windows(config.frames))
    return _with_new_decoder(config, fit_basis(videos, config.latent_channels), config.whitening_power)


def _with_new_decoder(config: AutoencoderTrainingConfig, basis: PatchBasis, power: float) -> AutoencoderPatchCode:
    stages = {"stage_channels": config.stage_channels, "stage_blocks": config.stage_blocks}
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model: AutoencoderPatchCode = AutoencoderPatchCode.from_basis(basis, whitening_power=power, **stages)
    return model


@torch.inference_mode()
def measure(model: AutoencoderPatchCode, windows: list[Tensor]) -> dict[str, float]:
    """Mean PSNR in dB of windows uint8 [k, F, H, W, 3]: of the decoder, of its linear part, and of single images.

    Also the sharpness of the decoder: squared differences of neighbours over those of the truth.
    """
    sums: dict[str, float] = {}
    for frames in windows:
        video = to_video(frames)
        latents = model.encode(video).latent_dist.mode()
        image = model.encode(video[:, :, :1]).latent_dist.mode()
        results = {
            "psnr": (model.decode(latents).sample, video),
            "psnr_linear": (model.decode_linear(latents), video),
            "psnr_image": (model.decode(image).sample, video[:, :, :1]),
        }
        for name, (decoded, truth) in results.items():
            sums[name] = sums.get(name, 0.0) + psnr(decoded, truth)
        sharpness = gradient_energy(results["psnr"][0].clamp(-1, 1)) / gradient_energy(video)
        sums["sharpness"] = sums.get("sharpness", 0.0) + sharpness
    return {name: value / len(windows) for name, value in sums.items()}


def psnr(decoded: Tensor, video: Tensor) -> float:
    """Peak signal to noise ratio in dB of videos in [-1, 1]; the decoded one is clamped."""
    error = (decoded.float().clamp(-1, 1) - video).square().mean() / 4
    return -10 * float(error.log10())


def gradient_energy(video: Tensor) -> float:
    """Sum of squared differences of neighbouring pixels, videos [B, C, F, H, W]."""
    return float(video.diff(dim=-1).square().sum() + video.diff(dim=-2).square().sum())


def train_autoencoder(config: AutoencoderTrainingConfig) -> AutoencoderPatchCode:
    """Run, or continue, the training of `config`; the model with averaged weights, also kept as `vae/` of the run.

    SIGTERM and Ctrl-C end it early, after a checkpoint. Batches and noise depend on the seed and the step alone, so a
    run that was killed and started again gives the weights of one that was not.
    """
    run = RunFolder(config.output)
    sampler = WindowSampler(ClipDataset(config.data), limit=config.clip_limit, seed=config.seed)
    held_out = WindowSampler(ClipDataset(config.held_out), limit=config.held_out_clips, seed=0).first_windows(
        config.frames
    )
    trainer = _Trainer(config, _initial_model(config, run.path / "initial"))
    if (state := run.load_checkpoint()) is not None:
        trainer.load_state(state)
    saved = time.monotonic()
    with StopSignal() as stop, _progress() as progress:
        task = progress.add_task("autoencoder", total=config.steps, completed=trainer.step)
        while trainer.step < config.steps and not stop.requested:
            loss = trainer.train_step(sampler)
            progress.update(task, completed=trainer.step)
            finished = trainer.step == config.steps
            if trainer.step % config.evaluate_every == 0 or finished:
                with trainer.ema.applied(trainer.model):
                    record = {"step": trainer.step, "loss": float(loss), **measure(trainer.model, held_out)}
                    trainer.model.save_pretrained(run.path / "vae")
                run.log(record)
                logger.info("%s", record)
            if time.monotonic() - saved > config.checkpoint_seconds or stop.requested or finished:
                run.save_checkpoint(trainer.step, trainer.state())
                saved = time.monotonic()
    trainer.ema.copy_to(trainer.model)
    return trainer.model


class _Trainer:
    """The model with its optimizer, averaged weights and step count."""

    def __init__(self, config: AutoencoderTrainingConfig, model: AutoencoderPatchCode) -> None:
        self.config = config
        self.model = model
        self.step = 0
        self.ema = Ema(model, config.ema_decay)
        hidden = [p for p in model.decoder.stages.parameters() if p.ndim == 4]
        chosen = set(hidden)
        other = [p for p in model.parameters() if p not in chosen]
        self.optimizer = MuonAdamW(hidden, other, muon_rate=config.muon_rate, adam_rate=config.adam_rate)
        self._loss = torch.compile(self._batch_loss) if config.compile else self._batch_loss

    def train_step(self, sampler: WindowSampler) -> Tensor:
        """One update of weights and average; returns the loss before it."""
        config = self.config
        images = self.step % config.image_every == config.image_every - 1
        windows = sampler.batch(self.step, size=config.batch_size, frames=1 if images else config.frames)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        with torch.no_grad():
            video = to_video(windows)
            latents = self.model.encode(video).latent_dist.mode()
            strength = config.latent_noise * torch.rand(len(latents), 1, 1, 1, 1, generator=generator)
            latents += strength * torch.randn(latents.shape, generator=generator)
        loss = self._loss(latents, video)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step(learning_rate_factor(self.step, config.steps, config.schedule))
        self.ema.update(self.model)
        self.step += 1
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint needs."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave and the run folder completed by the step."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])

    def _batch_loss(self, latents: Tensor, video: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            decoded = self.model.decode(latents).sample
        names = ("l1_weight", "edge_weight", "contrast_weight")
        return reconstruction_loss(decoded, video, **{name: getattr(self.config, name) for name in names})


def _initial_model(config: AutoencoderTrainingConfig, folder: Path) -> AutoencoderPatchCode:
    """The untrained or taken-over model; kept in the run folder, as a run has one code for ever."""
    if not folder.exists():
        if config.start is None:
            model = fit_autoencoder(config, ClipDataset(config.data))
        else:
            model = _taken_over(config, AutoencoderPatchCode.from_pretrained(config.start))
        partial = folder.with_suffix(".tmp")
        model.save_pretrained(partial)
        os.replace(partial, folder)
    initial: AutoencoderPatchCode = AutoencoderPatchCode.from_pretrained(folder)
    return initial


def _taken_over(config: AutoencoderTrainingConfig, model: AutoencoderPatchCode) -> AutoencoderPatchCode:
    stages = (tuple(model.config.stage_channels), tuple(model.config.stage_blocks))
    if stages == (config.stage_channels, config.stage_blocks):
        return model
    basis = PatchBasis(basis=model.basis, mean=model.mean, stds=model.stds)
    return _with_new_decoder(config, basis, model.config.whitening_power)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, speed_estimate_period=600)
