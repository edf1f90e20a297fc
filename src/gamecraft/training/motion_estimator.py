"""Trains the motion estimator of the evaluation on rendered frames with exact poses, in minutes on a CPU."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from gamecraft.dataset import ClipDataset
from gamecraft.errors import InputError
from gamecraft.evaluation.camera_motion import COMPONENTS, relative_motion
from gamecraft.evaluation.motion_estimator import MotionEstimator, MotionEstimatorConfig, frames_to_input
from gamecraft.training.run import Ema, RunFolder, StopSignal

__all__ = ["MotionEstimatorTraining", "augment", "chunk_errors", "train_motion_estimator"]

logger = logging.getLogger(__name__)

# Metres and radians of a typical motion over a few frames: the network's outputs are about 1.
_UNIT = (0.5, 0.5, 0.5, 0.1, 0.1)
_PAIRS = ((0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0))


@dataclass(frozen=True, kw_only=True)
class MotionEstimatorTraining:
    """Settings; ``recipes/motion_estimator.yaml`` has those of the estimator that comes with the package.

    data, held_out: clip datasets. run: folder for checkpoints and log. output: folder of the finished estimator.
    clips: so many random clips are used, kept decoded in memory. batch: clips a step; three frames of each give six
    pairs. max_gap: most frames between the two of a pair.
    """

    data: str
    held_out: str
    run: str
    output: str
    seed: int = 0
    steps: int = 2000
    batch: int = 24
    clips: int = 600
    max_gap: int = 6
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    ema_decay: float = 0.995
    measured_clips: int = 48
    log_every: int = 50
    checkpoint_every: int = 200
    model: MotionEstimatorConfig = MotionEstimatorConfig()

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "clips", "max_gap", "measured_clips", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")


def train_motion_estimator(config: MotionEstimatorTraining) -> dict[str, float] | None:
    """Train, save and measure; None when interrupted (call again to resume).

    Batch k is a function of the seed and k alone: an interrupted training ends with the same weights.

    Returns:
        median absolute error of each component over 9-frame chunks of held-out worlds.
    """
    run = RunFolder(config.run)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = MotionEstimator(config.model)
    model.get_buffer("unit").copy_(torch.tensor(_UNIT))
    ema = Ema(model, config.ema_decay)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    first = 0
    if (state := run.load_checkpoint()) is not None:
        first = state["step"]
        for part, name in ((model, "model"), (ema, "ema"), (optimizer, "optimizer")):
            part.load_state_dict(state[name])
    batches = _Batches(config)
    with StopSignal() as stop:
        for step in range(first, config.steps):
            rate = min(1.0, (step + 1) / config.warmup_steps, 2.5 * (1 - step / config.steps))
            optimizer.param_groups[0]["lr"] = config.learning_rate * rate
            loss = _train_step(model, optimizer, *batches.draw(step))
            ema.update(model)
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                run.log({"step": done, "loss": round(float(loss), 5)})
                logger.info("step %d of %d: loss %.4f", done, config.steps, float(loss))
            if done % config.checkpoint_every == 0 or done == config.steps or stop.requested:
                parts = {"model": model, "ema": ema, "optimizer": optimizer}
                run.save_checkpoint(done, {name: part.state_dict() for name, part in parts.items()})
            if stop.requested and done < config.steps:
                return None
    ema.copy_to(model)
    model.save(config.output)
    finished = MotionEstimator.load(config.output)  # what is measured is what was rounded and saved
    errors = chunk_errors(finished, ClipDataset(config.held_out), config.measured_clips)
    report = dict(zip(COMPONENTS, np.median(errors, axis=0).round(5).tolist(), strict=True))
    run.log({"step": config.steps, **report})
    return report


def chunk_errors(
    model: MotionEstimator, clips: ClipDataset, count: int, *, chunk: int = 9, step_frames: int | None = None
) -> npt.NDArray[np.float64]:
    """Absolute errors [chunks, 5] of the estimated motion over all whole chunks of the first ``count`` clips."""
    errors = []
    for number in range(min(count, len(clips))):
        clip = clips[number]
        frames = clip.frames()
        for start in range(0, len(frames) - chunk, chunk):
            poses = clip.poses[[start, start + chunk]]
            estimate = model.estimate(frames[start : start + chunk + 1], step_frames)
            errors.append(np.abs(estimate - relative_motion(poses[:1], poses[1:])[0]))
    return np.stack(errors)


def augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Spoil frames [N, T, 3, H, W] in [-1, 1] the way generated ones are: blur, fine and coarse noise, colour shift.

    Half of the frames stay as they are, so that a clean history is compared with a spoilt chunk as well.
    """
    count, times, _, height, width = frames.shape

    def level(highest: float) -> Tensor:
        drawn = torch.rand(count, times, 1, 1, 1, generator=generator)
        return highest * (2 * drawn - 1).clamp_min(0)

    flat = frames.flatten(0, 1)
    sigma = 0.1 + level(1.6).flatten()[:, None]
    distance = torch.arange(-3, 4)
    weights = F.normalize(torch.exp(-(distance**2) / (2 * sigma**2)), p=1, dim=1)
    kernels = weights.repeat_interleave(3, dim=0)[:, None]  # one per picture and channel
    stacked = flat.reshape(1, -1, height, width)
    for kernel, padding in ((kernels[..., None], (3, 0)), (kernels[:, :, None], (0, 3))):
        stacked = F.conv2d(stacked, kernel, padding=padding, groups=len(kernels))
    blurred = stacked.reshape(frames.shape)
    fine = torch.randn(frames.shape, generator=generator) * level(0.12)
    coarse = torch.randn(count * times, 3, height // 8, width // 8, generator=generator)
    coarse = F.interpolate(coarse, size=(height, width), mode="bilinear").reshape(frames.shape) * level(0.15)
    gain = 1 + level(0.25) * torch.randn(count, times, 3, 1, 1, generator=generator)
    return blurred * gain + fine + coarse


def _train_step(model: MotionEstimator, optimizer: torch.optim.Optimizer, frames: Tensor, motions: Tensor) -> Tensor:
    """One update on frames [N, 3, 3, H, W] with the motions [N, 6, 5] of their ``_PAIRS``; returns the loss."""
    with torch.autocast("cpu", torch.bfloat16):
        features = model.features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        start = torch.cat([features[:, a] for a, _ in _PAIRS])
        end = torch.cat([features[:, b] for _, b in _PAIRS])
        estimates = model.motion(start, end)
    targets = motions.transpose(0, 1).flatten(0, 1)
    unit = model.get_buffer("unit")
    loss = F.smooth_l1_loss(estimates / unit, targets / unit, beta=0.1)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


class _Batches:
    """Three frames each of random clips, spoilt and half of them mirrored, with the motions between them."""

    def __init__(self, config: MotionEstimatorTraining) -> None:
        self._config = config
        self._clips = ClipDataset(config.data)
        order = np.random.default_rng(config.seed).permutation(len(self._clips))
        self._chosen: list[int] = order[: config.clips].tolist()
        self._decoded: dict[int, npt.NDArray[np.uint8]] = {}

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Frames [N, 3, 3, H, W] and motions [N, 6, 5] of batch ``step``."""
        config = self._config
        random = np.random.default_rng((config.seed, step))
        pictures, motions = [], []
        for number in random.choice(self._chosen, size=config.batch):
            frames, poses = self._clip(int(number))
            gaps = random.integers(1, config.max_gap // 2 + 1, size=2)
            first = int(random.integers(len(poses) - gaps.sum()))
            times = first + np.array([0, gaps[0], gaps.sum()])
            a, b = (times[list(side)] for side in zip(*_PAIRS, strict=True))
            motion = relative_motion(poses[a], poses[b])
            shown = frames[times]
            if random.random() < 0.5:
                shown, motion = shown[:, :, ::-1], motion * (-1, 1, 1, -1, 1)
            pictures.append(shown)
            motions.append(motion)
        height, width = config.model.height, config.model.width
        inputs = frames_to_input(np.concatenate(pictures), height, width).unflatten(0, (-1, 3))
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        return augment(inputs, generator), torch.from_numpy(np.stack(motions)).float()

    def _clip(self, number: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        clip = self._clips[number]
        if number not in self._decoded:
            self._decoded[number] = clip.frames()
        return self._decoded[number], clip.poses
