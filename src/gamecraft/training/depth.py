"""Train the depth estimator on clips with known cameras, with or without known depths.

Of rendered worlds the depths are known (`gamecraft.worlds.true_depth`), and the estimator learns them. Other clips have
only their cameras. With the right depths, the frames around a frame can be read where its pixels lie in them, and give
it back. The estimator learns the depths for which they do (SfMLearner, arXiv 1704.07813; minimum over the frames as in
Monodepth2, arXiv 1806.01260). The poses are those of the recording, so depths come out in its metres. What is flat in
the picture says nothing; there depths are to be those of planes, whose inverse is linear over the picture.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gamecraft.dataset import ClipDataset
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.depth import DepthEstimator
from gamecraft.pictures import to_video
from gamecraft.precision import cpu_autocast
from gamecraft.reprojection import fetch, reproject, transfer
from gamecraft.training.autoencoder import psnr
from gamecraft.training.loop import LoopSettings, run_loop
from gamecraft.training.optimizers import Schedule
from gamecraft.training.run import RunFolder
from gamecraft.worlds.builder import build_scene
from gamecraft.worlds.true_depth import DepthCaster

__all__ = [
    "DepthTraining",
    "PosedFrames",
    "WorldDepths",
    "depth_loss",
    "measure_depth",
    "photometric_loss",
    "train_depth",
]

_HORIZON = 0.02
"""Inverse depth, 1/m, below which depths are not told apart by their ratio."""
_OUTSIDE = 10.0
"""Photometric error of a frame in which a pixel does not lie; no real error is as large."""


@dataclass(frozen=True, kw_only=True)
class DepthTraining(LoopSettings):
    """A training run of `DepthEstimator`. The defaults are the embedded model's recipe, which has true depths besides.

    data, held_out: dataset folders. run: run folder; the averaged model appears there as `depth/`.
    true_depths: learn the depths of the rendered worlds that the data is of.
    channels, blocks: shape of the model. neighbours: frames that a frame is read from. reach: how many frames before or
    after it they are at most. plane_weight: of the curvature of inverse depths where the picture is flat.
    """

    run: str
    data: str
    held_out: str
    true_depths: bool = False
    channels: tuple[int, ...] = (64, 128, 192)
    blocks: tuple[int, ...] = (2, 2, 2)
    steps: int = 5400
    batch_size: int = 16
    neighbours: int = 3
    reach: int = 12
    plane_weight: float = 0.02
    schedule: Schedule = field(default_factory=lambda: Schedule(warmup_steps=100, cooldown_steps=2200))
    clip_limit: int = 1200
    held_out_clips: int = 48
    evaluate_every: int = 250


class PosedFrames:
    """Frames of a random subset of a dataset with others of the same clips; batch `k` depends on `seed` and `k` alone.

    Each clip is decoded when it is first drawn and then stays in memory.
    """

    def __init__(self, clips: ClipDataset, *, limit: int, seed: int) -> None:
        self._clips = clips
        self._seed = seed
        self._chosen: list[int] = np.random.default_rng(seed).permutation(len(clips))[:limit].tolist()
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        """Clips of the subset."""
        return len(self._chosen)

    def batch(self, index: int, *, size: int, neighbours: int, reach: int) -> tuple[Tensor, Tensor, Tensor]:
        """Batch number `index`: see ``frames_at``; the neighbours are up to `reach` frames before or after."""
        random = np.random.default_rng((self._seed, index))
        parts = []
        for number in random.integers(len(self), size=size):
            count = self._clips[self._chosen[number]].num_frames
            middle = int(random.integers(1, count - 1))
            # near ones to find the depth from far off, wide baselines to find it exactly
            steps = np.exp(random.uniform(0, np.log(reach), neighbours)).round().astype(int)
            signs = np.where(np.arange(neighbours) % 2, 1, -1) * random.choice([-1, 1])
            others = np.clip(middle + signs * steps, 0, count - 1)
            parts.append(self.frames_at(int(number), middle, np.where(others == middle, middle - signs, others)))
        picture, around, moves = (torch.stack(part) for part in zip(*parts, strict=True))
        return picture, around, moves

    def frames_at(self, number: int, middle: int, others: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """A frame of clip `number` of the subset [3, H, W], K others [K, 3, H, W], and the moves to them [K, 4, 4]."""
        clip = self._clips[self._chosen[number]]
        if number not in self._decoded:
            self._decoded[number] = clip.frames()
        frames = torch.from_numpy(self._decoded[number][[middle, *others]])
        video = to_video(frames[None])[0].transpose(0, 1)
        moves = np.linalg.inv(clip.poses[others]) @ clip.poses[middle]
        return video[0], video[1:], torch.from_numpy(moves).float()


class WorldDepths:
    """Frames of a dataset of rendered worlds with their true depths; batch `k` depends on `seed` and `k` alone.

    `frames` frames of each clip of a random subset are used; they are kept once they have been drawn.
    """

    def __init__(self, clips: ClipDataset, *, limit: int, seed: int, frames: int = 6) -> None:
        self._clips = clips
        self._seed = seed
        self._frames = frames
        self._chosen: list[int] = np.random.default_rng(seed).permutation(len(clips))[:limit].tolist()
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def batch(self, index: int, *, size: int) -> tuple[Tensor, Tensor]:
        """Pictures [size, 3, H, W] in [-1, 1] and inverse depths [size, 1, H, W], 1/m, of batch number `index`."""
        random = np.random.default_rng((self._seed, index))
        parts = []
        for clip, frame in random.integers((len(self._chosen), self._frames), size=(size, 2)):
            pictures, depths = self._of(self._chosen[clip])
            parts.append((pictures[frame], depths[frame]))
        frames, depths = (torch.stack(part) for part in zip(*parts, strict=True))
        return to_video(frames[:, None])[:, :, 0], depths[:, None].float()

    def _of(self, number: int) -> tuple[Tensor, Tensor]:
        if number not in self._known:
            clip, data = self._clips[number], self._clips
            places = np.linspace(0, clip.num_frames - 1, self._frames).round().astype(int)
            caster = DepthCaster(build_scene(clip.world_seed))
            depths = [caster.inverse_depth(clip.poses[i], data.intrinsics, data.height, data.width) for i in places]
            pictures = torch.from_numpy(clip.frames()[places])
            self._known[number] = pictures, torch.from_numpy(np.stack(depths)).half()
        return self._known[number]


def depth_loss(inverse_depth: Tensor, truth: Tensor) -> Tensor:
    """Absolute error of log inverse depths [B, 1, H, W], and of its differences between neighbours: edges are exact.

    Beyond about 50 metres it is the absolute error of inverse depths, as the sky's is zero.
    """
    error = torch.log(inverse_depth + _HORIZON) - torch.log(truth + _HORIZON)
    return error.abs().mean() + error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def photometric_loss(
    inverse_depth: Tensor, picture: Tensor, around: Tensor, moves: Tensor, intrinsics: Intrinsics, plane_weight: float
) -> Tensor:
    """How badly frames [B, K, 3, H, W] around a picture [B, 3, H, W] give it back with depths [B, 1, H, W].

    moves: [B, K, 4, 4] from the picture's camera to the others. At full, half and a quarter of the size: what is far
    off at the finest is found at the coarsest.
    """
    places, _ = transfer(inverse_depth, moves, intrinsics)
    inside = (places.abs() <= 1).all(dim=-1).float()
    batch, count = around.shape[:2]
    total = plane_weight * _bending(inverse_depth, picture)
    for factor in (1, 2, 4):
        target = F.avg_pool2d(picture, factor)
        sources = F.avg_pool2d(around.flatten(0, 1), factor)
        at = F.avg_pool2d(places.flatten(0, 1).movedim(-1, 1), factor).movedim(1, -1)
        seen = fetch(sources, at[:, None])[:, 0].reshape(batch, count, *target.shape[1:])
        error = torch.stack([_difference(seen[:, i], target) for i in range(count)], dim=1)
        valid = F.avg_pool2d(inside, factor) > 0.99
        best = torch.where(valid, error, _OUTSIDE).amin(dim=1)
        total = total + torch.where(best < _OUTSIDE, best, 0.0).mean()
    return total


def _difference(seen: Tensor, target: Tensor) -> Tensor:
    """Per pixel [B, H, W], 0.85 (1 - SSIM) / 2 + 0.15 |difference|, values in [-1, 1]."""
    size, pad = 3, 1

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (pad, pad, pad, pad), mode="reflect"), size, 1)

    a, b = seen / 2, target / 2
    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    shared = mean(a * b) - mean_a * mean_b
    upper = (2 * mean_a * mean_b + 1e-4) * (2 * shared + 9e-4)
    lower = (mean_a**2 + mean_b**2 + 1e-4) * (spread_a + spread_b + 9e-4)
    structure = ((1 - upper / lower) / 2).clamp(0, 1)
    return (0.85 * structure + 0.15 * (a - b).abs()).mean(dim=1)


def _bending(inverse_depth: Tensor, picture: Tensor) -> Tensor:
    """Mean second difference of inverse depths, relative to their size, less where the picture has an edge."""
    relative = inverse_depth / (inverse_depth.detach() + 0.02)
    total = inverse_depth.new_zeros(())
    for axis in (-1, -2):
        length = picture.shape[axis]
        curve = relative.diff(n=2, dim=axis).abs()
        edge = picture.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        edge = torch.maximum(edge.narrow(axis, 0, length - 2), edge.narrow(axis, 1, length - 2))
        total = total + (curve * torch.exp(-10 * edge)).mean()
    return total


@torch.no_grad()
def measure_depth(model: DepthEstimator, data: PosedFrames, intrinsics: Intrinsics, ahead: int = 9) -> dict[str, float]:
    """How well a frame moved by its estimated depth foresees the one `ahead` frames later, over the clips of `data`.

    Returns:
        psnr, and psnr_freeze of the frame itself, both where the moved frame shows something; that share as coverage.
    """
    sums = {"psnr": 0.0, "psnr_freeze": 0.0, "coverage": 0.0}
    for number in range(len(data)):
        start = 3 * number % 30
        picture, later, moves = (x[None] for x in data.frames_at(number, start, np.array([start + ahead])))
        seen, _, covered = (x[:, 0] for x in reproject(picture, model(picture), moves, intrinsics))
        target = later[:, 0]
        sums["psnr"] += psnr(torch.where(covered > 0, seen, target), target) + 10 * float(covered.mean().log10())
        sums["psnr_freeze"] += psnr(torch.where(covered > 0, picture, target), target) + 10 * float(
            covered.mean().log10()
        )
        sums["coverage"] += float(covered.mean())
    return {name: value / len(data) for name, value in sums.items()}


def train_depth(config: DepthTraining) -> DepthEstimator:
    """Run, or continue, the training of `config`; the model with averaged weights, also kept as `depth/` of the run.

    See `run_loop` for interruptions; batches depend on the seed and the step alone.
    """
    clips, held_out_clips = ClipDataset(config.data), ClipDataset(config.held_out)
    held_out = PosedFrames(held_out_clips, limit=config.held_out_clips, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model: DepthEstimator = DepthEstimator(channels=config.channels, blocks=config.blocks)
    outer = {parameter for end in (model.conv_in, model.conv_out) for parameter in end.parameters()}
    batch, loss = (_of_true_depths if config.true_depths else _of_neighbours)(config, clips, model)
    run_loop(
        config,
        RunFolder(config.run),
        model,
        part="depth",
        hidden=[p for p in model.parameters() if p.ndim == 4 and p not in outer],
        batch=batch,
        loss=loss,
        measure=lambda: measure_depth(model, held_out, held_out_clips.intrinsics),
    )
    return model


_Objective = tuple[Callable[[int], tuple[Tensor, ...]], Callable[..., Tensor]]
"""Batches by step, and their loss."""


def _of_true_depths(config: DepthTraining, clips: ClipDataset, model: DepthEstimator) -> _Objective:
    data = WorldDepths(clips, limit=config.clip_limit, seed=config.seed)

    def loss(picture: Tensor, truth: Tensor) -> Tensor:
        with cpu_autocast():
            inverse_depth = model(picture)
        return depth_loss(inverse_depth, truth)

    return lambda step: data.batch(step, size=config.batch_size), loss


def _of_neighbours(config: DepthTraining, clips: ClipDataset, model: DepthEstimator) -> _Objective:
    data = PosedFrames(clips, limit=config.clip_limit, seed=config.seed)
    sizes = {"size": config.batch_size, "neighbours": config.neighbours, "reach": config.reach}

    def loss(picture: Tensor, around: Tensor, moves: Tensor) -> Tensor:
        with cpu_autocast():
            inverse_depth = model(picture)
        return photometric_loss(inverse_depth, picture, around, moves, clips.intrinsics, config.plane_weight)

    return lambda step: data.batch(step, **sizes), loss
