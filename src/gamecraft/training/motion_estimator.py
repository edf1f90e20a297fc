"""Trains the motion estimator of the evaluation on rendered frames with exact poses, in minutes on a CPU."""

import logging
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from gamecraft.dataset import ClipDataset
from gamecraft.errors import InputError
from gamecraft.evaluation.camera_motion import COMPONENTS, relative_motion
from gamecraft.evaluation.motion_estimator import MotionEstimator, MotionEstimatorConfig, comparison
from gamecraft.training.run import Ema, RunFolder, StopSignal

__all__ = ["MotionEstimatorTraining", "chunk_errors", "spoil", "train_motion_estimator"]

logger = logging.getLogger(__name__)

# Metres and radians of a typical motion over a few frames: the network's outputs are about 1.
_UNIT = (0.5, 0.5, 0.5, 0.1, 0.1)
_PAIRS = ((0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0))  # of three frames of a clip


@dataclass(frozen=True, kw_only=True)
class MotionEstimatorTraining:
    """Settings; ``recipes/motion_estimator.yaml`` has those of the estimator that comes with the package.

    data, held_out: clip datasets. run: folder for checkpoints and log. output: folder of the finished estimator.
    clips: so many random clips are used, kept decoded in memory. batch: clips a step; three frames of each give six
    pairs. max_gap: most frames between neighbours of the three.
    """

    data: str
    held_out: str
    run: str
    output: str
    seed: int = 0
    steps: int = 1000
    batch: int = 24
    clips: int = 600
    max_gap: int = 3
    learning_rate: float = 2e-3
    warmup_steps: int = 30
    ema_decay: float = 0.99
    measured_clips: int = 48
    log_every: int = 50
    checkpoint_every: int = 100
    model: MotionEstimatorConfig = field(default_factory=MotionEstimatorConfig)

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
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
    batches = _Batches(config)
    losses: list[Tensor] = []
    with StopSignal() as stop:
        for step in range(first, config.steps):
            # Warm up, stay, and fall to zero over the last 40 %.
            rate = min(1.0, (step + 1) / config.warmup_steps, 2.5 * (1 - step / config.steps))
            optimizer.param_groups[0]["lr"] = config.learning_rate * rate
            losses.append(_train_step(model, optimizer, *batches.draw(step)))
            ema.update(model)
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                record = {"step": done, "loss": round(float(torch.stack(losses).mean()), 5)}
                run.log(record)
                logger.info("%s", record)
                losses.clear()
            if done % config.checkpoint_every == 0 or done == config.steps or stop.requested:
                run.save_checkpoint(
                    done,
                    {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()},
                )
            if stop.requested and done < config.steps:
                return None
    ema.copy_to(model)
    model.save(config.output)
    finished = MotionEstimator.load(config.output)  # what is measured is what was rounded and saved
    errors = chunk_errors(finished, ClipDataset(config.held_out), config.measured_clips)
    report = dict(zip(COMPONENTS, np.median(errors, axis=0).round(5).tolist(), strict=True))
    run.log({"step": config.steps, **report})
    logger.info("median absolute errors on held-out worlds, metres and radians: %s", report)
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


def spoil(frames: npt.NDArray[np.uint8], generator: torch.Generator) -> npt.NDArray[np.uint8]:
    """Frames [N, H, W, 3] made as imperfect as generated ones: blur, fine and coarse noise, colour shift.

    Each of the four leaves half of the frames as they are, so that a clean history also meets a spoilt chunk.
    """
    count, height, width, _ = frames.shape

    def level(highest: float) -> Tensor:
        return highest * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1).clamp_min(0)

    sigma = 0.1 + level(1.6).flatten()[:, None]
    weights = F.normalize(torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * sigma**2)), p=1, dim=1)
    kernels = weights.repeat_interleave(3, dim=0)[:, None]  # one per picture and channel
    pictures = torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32)).reshape(1, -1, height, width)
    pictures = F.conv2d(pictures, kernels[..., None], padding=(3, 0), groups=len(kernels))
    pictures = F.conv2d(pictures, kernels[:, :, None], padding=(0, 3), groups=len(kernels))
    pictures = pictures.reshape(count, 3, height, width)
    coarse = torch.randn(count, 3, height // 8, width // 8, generator=generator)
    gain = 1 + level(0.25) * torch.randn(count, 3, 1, 1, generator=generator)
    pictures = pictures * gain + 12 * level(1) * F.interpolate(coarse, size=(height, width), mode="bilinear")
    pictures += 8 * level(1) * torch.randn(pictures.shape, generator=generator)
    return pictures.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def _train_step(
    model: MotionEstimator, optimizer: torch.optim.Optimizer, comparisons: Tensor, motions: Tensor
) -> Tensor:
    """One update on comparisons [N, 9, h, w] and motions [N, 5]; returns the loss."""
    unit = model.get_buffer("unit")
    loss = F.smooth_l1_loss(model(comparisons) / unit, motions / unit, beta=0.1)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


class _Batches:
    """Three frames each of random clips, half of the clips mirrored, spoilt and compared pair by pair."""

    def __init__(self, config: MotionEstimatorTraining) -> None:
        self._config = config
        self._clips = ClipDataset(config.data)
        order = np.random.default_rng(config.seed).permutation(len(self._clips))
        self._chosen: list[int] = order[: config.clips].tolist()
        self._decoded: dict[int, npt.NDArray[np.uint8]] = {}

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Comparisons [N, 9, h, w] and motions [N, 5] of batch ``step``."""
        random = np.random.default_rng((self._config.seed, step))
        pictures, motions = [], []
        for number in random.choice(self._chosen, size=self._config.batch):
            shown, poses = self._triple(int(number), random)
            starts, ends = (list(side) for side in zip(*_PAIRS, strict=True))
            motion = relative_motion(poses[starts], poses[ends])
            if random.random() < 0.5:
                shown, motion = shown[:, :, ::-1], motion * (-1, 1, 1, -1, 1)
            pictures.append(shown)
            motions.append(motion)
        generator = torch.Generator().manual_seed(self._config.seed * 1_000_003 + step)
        frames = spoil(np.concatenate(pictures), generator)
        pairs = [(3 * clip + a, 3 * clip + b) for clip in range(len(pictures)) for a, b in _PAIRS]
        return comparison(frames, pairs), torch.from_numpy(np.concatenate(motions)).float()

    def _triple(
        self, number: int, random: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        clip = self._clips[number]
        if number not in self._decoded:
            self._decoded[number] = clip.frames()
        gaps = random.integers(1, self._config.max_gap + 1, size=2)
        first = int(random.integers(len(clip.poses) - gaps.sum()))
        times = [first, first + int(gaps[0]), first + int(gaps.sum())]
        return self._decoded[number][times], clip.poses[times]
