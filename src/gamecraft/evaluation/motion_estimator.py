"""Recovers the camera's motion from frames alone, so that a generated video can be asked whether it followed the keys.

A small convolutional network compares two frames: features of each at an eighth of the size, their correlation within
a window (as in FlowNet, Dosovitskiy et al. 2015, arXiv:1504.06852), and convolutions that read the motion off it. It is
trained on rendered pairs with exact poses (``gamecraft.training.motion_estimator``); metres are those of the low-poly
worlds, whose walkers' eyes are 1.6 m above the ground.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamecraft.errors import CheckpointError, InputError
from gamecraft.evaluation.camera_motion import COMPONENTS, compose

__all__ = ["DEFAULT_FOLDER", "MotionEstimator", "MotionEstimatorConfig", "frames_to_input"]

DEFAULT_FOLDER = Path(__file__).parents[1] / "assets" / "motion_estimator"

_FEATURE_STRIDE = 8


@dataclass(frozen=True, kw_only=True)
class MotionEstimatorConfig:
    """Sizes of the network. ``window``: how far it looks for a feature, (up and down, left and right) in 8 pixels.

    ``step_frames``: frames per comparison; longer motions are composed of such steps.
    """

    height: int = 96
    width: int = 160
    channels: int = 64
    window: tuple[int, int] = (3, 5)
    step_frames: int = 3


class MotionEstimator(nn.Module):
    """Pairs of frames to motions [N, 5] (right, down, forward in metres, yaw, pitch in radians)."""

    def __init__(self, config: MotionEstimatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MotionEstimatorConfig()
        width = config.channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(48, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        rows, columns = config.height // _FEATURE_STRIDE, config.width // _FEATURE_STRIDE
        index, inside = _window_index(rows, columns, config.window)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("inside", inside, persistent=False)
        self.compare = nn.Sequential(
            nn.Conv2d(len(index) + 2 * width, 64, 1),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(96, 96, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(96, 32, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(32 * (-(-rows // 2)) * (-(-columns // 2)), 64),
            nn.SiLU(),
            nn.Linear(64, len(COMPONENTS)),
        )
        self.register_buffer("unit", torch.ones(len(COMPONENTS)))  # metres or radians of an output of 1

    def features(self, frames: Tensor) -> Tensor:
        """Frames [N, 3, H, W] in [-1, 1] to features [N, C, H/8, W/8], to be compared by ``motion``."""
        hidden: Tensor = self.encoder(frames)
        return hidden

    def motion(self, start: Tensor, end: Tensor) -> Tensor:
        """Motion [N, 5] between the frames of which these are the ``features`` [N, C, H/8, W/8]."""
        index, inside = self.get_buffer("index"), self.get_buffer("inside")
        # all pairs by one matrix product, then the window around each position: faster than shifting and multiplying
        scores = F.normalize(start.flatten(2), dim=1).transpose(1, 2) @ F.normalize(end.flatten(2), dim=1)
        near = scores.gather(2, index.T.expand(len(scores), -1, -1)) * inside.T
        windows = near.transpose(1, 2).unflatten(2, start.shape[2:])
        outputs: Tensor = self.compare(torch.cat([windows, start, end], dim=1))
        return outputs.float() * self.get_buffer("unit")

    def forward(self, start: Tensor, end: Tensor) -> Tensor:
        """Motion [N, 5] from frames ``start`` to ``end``, [N, 3, H, W] in [-1, 1]."""
        return self.motion(self.features(start), self.features(end))

    @torch.no_grad()
    def estimate(self, frames: npt.NDArray[np.uint8], step_frames: int | None = None) -> npt.NDArray[np.float64]:
        """Motion [5] from the first to the last of ``frames`` uint8 [F, H, W, 3], composed of equal steps.

        Args:
            frames: at least two; e.g. the last frame of the history and the frames of a chunk.
            step_frames: frames per comparison, about; the configuration's if None.

        Raises:
            InputError: fewer than two frames.
        """
        if len(frames) < 2:
            raise InputError(f"the motion of {len(frames)} frame(s) was asked for; it takes at least two")
        steps = max(1, round((len(frames) - 1) / (step_frames or self.config.step_frames)))
        chosen = np.linspace(0, len(frames) - 1, steps + 1).round().astype(int)
        features = self.features(frames_to_input(frames[chosen], self.config.height, self.config.width))
        return compose(self.motion(features[:-1], features[1:]).double().numpy())

    def save(self, folder: Path | str) -> None:
        """Write ``config.json`` and ``model.safetensors`` (float16)."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        state = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path | str = DEFAULT_FOLDER) -> Self:
        """The estimator of a folder, by default the one that comes with the package, in float32.

        Raises:
            CheckpointError: there is none, or it does not fit its configuration.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            model = cls(MotionEstimatorConfig(**{**values, "window": tuple(values["window"])}))
            state = load_file(folder / "model.safetensors")
            model.load_state_dict({name: value.float() for name, value in state.items()})
        except Exception as error:  # json, safetensors and torch raise many types for damaged files
            raise CheckpointError(f"no usable motion estimator in {folder}: {error}") from error
        return model.eval()


def frames_to_input(frames: npt.NDArray[np.uint8], height: int, width: int) -> Tensor:
    """Frames uint8 [N, H, W, 3] of any size as float32 [N, 3, height, width] in [-1, 1]."""
    if frames.shape[1:3] != (height, width):
        import cv2

        frames = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _window_index(rows: int, columns: int, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """For every offset of the window and position: the position it leads to, and whether that is in the picture.

    Both [offsets, rows * columns].
    """
    down, right = window
    dy, dx = torch.meshgrid(torch.arange(-down, down + 1), torch.arange(-right, right + 1), indexing="ij")
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    y, x = y.flatten() + dy.reshape(-1, 1), x.flatten() + dx.reshape(-1, 1)
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    return torch.where(inside, y * columns + x, 0), inside.float()
