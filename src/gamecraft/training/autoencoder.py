"""Train the decoder of the embedded model's autoencoder; its linear code is fitted first and never changes."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gamecraft.dataset import ClipDataset
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.patch_code import PatchBasis, fit_basis
from gamecraft.pictures import to_video
from gamecraft.precision import cpu_autocast
from gamecraft.training.generated import GeneratedChunks, GeneratedSettings, generated_chunks
from gamecraft.training.loop import LoopSettings, run_loop
from gamecraft.training.optimizers import Schedule
from gamecraft.training.run import RunFolder
from gamecraft.training.windows import ClipSource, WindowSampler

__all__ = [
    "AutoencoderTraining",
    "fit_autoencoder",
    "local_contrast",
    "measure",
    "measure_generated",
    "reconstruction_loss",
    "train_autoencoder",
]

_MADE_HELD_OUT = 64


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining(LoopSettings):
    """A training run of `AutoencoderPatchCode`. The defaults are the embedded model's recipe.

    data, held_out: dataset folders. run: run folder; the model appears there as `vae/`.
    start: folder of an autoencoder whose code to keep, and its decoder if that has the stages wanted here; without it
    the code is fitted on `data`.
    frames: length of the training windows, the model's chunk. image_every: every so manieth batch is single frames.
    latent_noise: up to this standard deviation is added to the latents (mean square 1): generated ones are not exact.
    l1_weight, edge_weight: of the absolute error and of the absolute error of neighbour differences, beside the squared
    error (all on [-1, 1] values). contrast_weight: of the absolute error of how much neighbours in the picture and in
    time differ around a pixel, wherever exactly: squared errors alone make soft what they cannot place.
    clip_limit: clips kept in memory.
    generated: a model with the code of `start` whose latents are decoded as well, as they are softer than encoded ones.
    """

    data: str
    held_out: str
    run: str
    start: str | None = None
    latent_channels: int = 24
    whitening_power: float = 0.5
    stage_channels: tuple[int, ...] = (192, 96, 48)
    stage_blocks: tuple[int, ...] = (3, 4, 3)
    frames: int = 9
    image_every: int = 8
    batch_size: int = 8
    steps: int = 8000
    schedule: Schedule = field(default_factory=lambda: Schedule(warmup_steps=100, cooldown_steps=3000))
    latent_noise: float = 0.15
    l1_weight: float = 0.02
    edge_weight: float = 0.02
    contrast_weight: float = 0.1
    clip_limit: int = 1500
    basis_clips: int = 400
    held_out_clips: int = 48
    generated: GeneratedSettings | None = None


def reconstruction_loss(
    decoded: Tensor, video: Tensor, *, l1_weight: float, edge_weight: float, contrast_weight: float = 0.0
) -> Tensor:
    """Squared error plus weighted absolute errors of values, of differences between neighbours, and of their contrast.

    decoded, video: [B, 3, F, H, W]. The squared error gives the PSNR; the others keep flat areas flat and edges sharp.
    Neighbours are those in the picture and, in a video, those in time: contrast that stands still while the camera
    moves is none.
    """
    decoded = decoded.float()
    error = decoded - video
    axes = (-1, -2, 2) if video.shape[2] > 1 else (-1, -2)
    edges = torch.stack([error.diff(dim=axis).abs().mean() for axis in axes]).sum()
    loss = error.square().mean() + l1_weight * error.abs().mean() + edge_weight * edges
    if contrast_weight:
        pairs = zip(local_contrast(decoded), local_contrast(video), strict=True)
        loss = loss + contrast_weight * torch.stack([(found - true).abs().mean() for found, true in pairs]).sum()
    return loss


def local_contrast(video: Tensor) -> list[Tensor]:
    """Root mean squared difference of neighbours in squares of 5x5 pixels, every second pixel.

    Args:
        video: [B, C, F, H, W].

    Returns:
        of neighbours in the picture [B, 1, F, h, w], and in a video of those in time [B, 1, F - 1, h, w].
    """
    inside = (..., slice(video.shape[-2] - 1), slice(video.shape[-1] - 1))
    right, down = (video.diff(dim=axis).square()[inside] for axis in (-1, -2))
    energies = [right + down]
    if video.shape[2] > 1:
        energies.append(video.diff(dim=2).square())
    return [_spread(energy.mean(dim=1)) for energy in energies]


def _spread(energy: Tensor) -> Tensor:
    """Root of the mean of [B, F, H, W] in squares, [B, 1, F, h, w]."""
    around = (F.avg_pool2d(energy.flatten(0, 1)[:, None], 5, stride=2) + 1e-4).sqrt()
    return around.reshape(len(energy), 1, -1, *around.shape[2:])


def fit_autoencoder(config: AutoencoderTraining, clips: ClipSource) -> AutoencoderPatchCode:
    """An autoencoder with the linear code of `config.basis_clips` clips and an untrained decoder."""
    sampler = WindowSampler(clips, limit=config.basis_clips, seed=config.seed)
    videos = (to_video(windows) for windows in sampler.first_windows(config.frames))
    return _with_new_decoder(config, fit_basis(videos, config.latent_channels), config.whitening_power)


def _with_new_decoder(config: AutoencoderTraining, basis: PatchBasis, power: float) -> AutoencoderPatchCode:
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
        sums["sharpness"] = sums.get("sharpness", 0.0) + sharpness(results["psnr"][0], video)
    return {name: value / len(windows) for name, value in sums.items()}


@torch.inference_mode()
def measure_generated(model: AutoencoderPatchCode, made: GeneratedChunks) -> dict[str, float]:
    """Mean PSNR in dB, and sharpness as in ``measure``, of decoded generated chunks against what was to be seen."""
    sums = {"psnr_generated": 0.0, "sharpness_generated": 0.0}
    for number in range(len(made)):
        chunk = made.at([number])
        decoded = model.decode(chunk["latents"] / model.config.scaling_factor).sample
        sums["psnr_generated"] += psnr(decoded, chunk["true"])
        sums["sharpness_generated"] += sharpness(decoded, chunk["true"])
    return {name: value / len(made) for name, value in sums.items()}


def psnr(decoded: Tensor, video: Tensor) -> float:
    """Peak signal to noise ratio in dB of videos in [-1, 1]; the decoded one is clamped."""
    error = (decoded.float().clamp(-1, 1) - video).square().mean() / 4
    return -10 * float(error.log10())


def sharpness(decoded: Tensor, video: Tensor) -> float:
    """Squared differences of neighbouring pixels over those of the truth, videos [B, C, F, H, W] in [-1, 1]."""
    of_decoded, of_video = (
        float(x.diff(dim=-1).square().sum() + x.diff(dim=-2).square().sum()) for x in (decoded.clamp(-1, 1), video)
    )
    return of_decoded / max(of_video, 1e-6)  # a video may be of one colour


def train_autoencoder(config: AutoencoderTraining) -> AutoencoderPatchCode:
    """Run, or continue, the training of `config`; the model with averaged weights, also kept as `vae/` of the run.

    See `run_loop` for interruptions; batches and noise depend on the seed and the step alone.
    """
    run = RunFolder(config.run)
    sampler = WindowSampler(ClipDataset(config.data), limit=config.clip_limit, seed=config.seed)
    held_out = WindowSampler(ClipDataset(config.held_out), limit=config.held_out_clips, seed=0).first_windows(
        config.frames
    )
    model = _initial_model(config, run.path / "initial")
    made = made_held_out = None
    if config.generated is not None:
        made = generated_chunks(config.generated, config.data, run.path / "generated", config.seed)
        few = replace(config.generated, chunks=_MADE_HELD_OUT)
        made_held_out = generated_chunks(few, config.held_out, run.path / "generated-held-out", config.seed)

    def measured() -> dict[str, float]:
        return measure(model, held_out) | (measure_generated(model, made_held_out) if made_held_out else {})

    def loss(latents: Tensor, video: Tensor) -> Tensor:
        with cpu_autocast():
            decoded = model.decode(latents).sample
        names = ("l1_weight", "edge_weight", "contrast_weight")
        return reconstruction_loss(decoded, video, **{name: getattr(config, name) for name in names})

    run_loop(
        config,
        run,
        model,
        part="vae",
        hidden=[p for p in model.decoder.stages.parameters() if p.ndim == 4],
        batch=lambda step: _batch(config, model, sampler, made, step),
        loss=loss,
        measure=measured,
    )
    return model


@torch.no_grad()
def _batch(
    config: AutoencoderTraining,
    model: AutoencoderPatchCode,
    sampler: WindowSampler,
    made: GeneratedChunks | None,
    step: int,
) -> tuple[Tensor, Tensor]:
    """Latents [B, C, t, h, w], generated or encoded and made inexact, and the videos [B, 3, F, H, W] they are of."""
    if made is not None and made.due(step):
        chunks = made.batch(step, size=config.batch_size)
        return chunks["latents"] / model.config.scaling_factor, chunks["true"]
    images = step % config.image_every == config.image_every - 1
    video = to_video(sampler.batch(step, size=config.batch_size, frames=1 if images else config.frames))
    latents = model.encode(video).latent_dist.mode()
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    strength = config.latent_noise * torch.rand(len(latents), 1, 1, 1, 1, generator=generator)
    latents += strength * torch.randn(latents.shape, generator=generator)
    return latents, video


def _initial_model(config: AutoencoderTraining, folder: Path) -> AutoencoderPatchCode:
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


def _taken_over(config: AutoencoderTraining, model: AutoencoderPatchCode) -> AutoencoderPatchCode:
    stages = (tuple(model.config.stage_channels), tuple(model.config.stage_blocks))
    if stages == (config.stage_channels, config.stage_blocks):
        return model
    basis = PatchBasis(basis=model.basis, mean=model.mean, stds=model.stds)
    return _with_new_decoder(config, basis, model.config.whitening_power)
