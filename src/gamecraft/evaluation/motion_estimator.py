"""Recovers the camera's motion from frames alone, so that a generated video can be asked whether it followed the keys.

Dense optical flow (DIS: Kroeger, Timofte, Dai, Van Gool 2016, arXiv:1603.03590, as in OpenCV) between two frames, what
it cannot explain, and the two frames themselves at a quarter of the size go into a small convolutional network that
reads the motion off them. It is trained on rendered pairs with exact poses (``gamecraft.training.motion_estimator``);
metres are those of the low-poly worlds, whose walkers' eyes are usually 1.6 m above the ground.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamecraft.errors import CheckpointError, InputError
from gamecraft.evaluation.camera_motion import COMPONENTS, compose

__all__ = ["DEFAULT_FOLDER", "MotionEstimator", "MotionEstimatorConfig", "comparison"]

DEFAULT_FOLDER = Path(__file__).parents[1] / "assets" / "motion_estimator"

_SCALE, _COARSE = 4, 8  # pixels per position of the network's input and of its linear part's
_CHANNELS, _FLOW_CHANNELS = 9, 2
_BLUR = 1.0  # sigma in pixels before flow is sought: noise and differences in sharpness mislead it
_FLOW_UNIT, _RESIDUAL_UNIT = 8.0, 32.0  # pixels and grey levels that count as 1


@dataclass(frozen=True, kw_only=True)
class MotionEstimatorConfig:
    """Sizes of the network: frames in pixels, channels of its convolutions.

    ``step_frames``: frames per comparison; longer motions are composed of such steps.
    """

    height: int = 96
    width: int = 160
    channels: tuple[int, ...] = (32, 48, 64, 32)
    hidden: int = 64
    step_frames: int = 3


class MotionEstimator(nn.Module):
    """``comparison``s of two frames to motions [N, 5] (right, down, forward in metres, yaw, pitch in radians)."""

    def __init__(self, config: MotionEstimatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MotionEstimatorConfig()
        layers: list[nn.Module] = []
        rows, columns, width = config.height // _SCALE, config.width // _SCALE, _CHANNELS
        for index, channels in enumerate(config.channels):
            stride = 2 if index in (1, 2) else 1
            layers += [nn.Conv2d(width, channels, 3, stride=stride, padding=1), nn.SiLU()]
            rows, columns, width = -(-rows // stride), -(-columns // stride), channels
        # Where in the picture something moves matters as much as how: no pooling over positions.
        layers += [nn.Flatten(), nn.Linear(width * rows * columns, config.hidden), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(config.hidden, len(COMPONENTS)))
        # Turning is almost linear in the flow, and learned at once that way.
        self.direct = nn.Linear(
            _FLOW_CHANNELS * (config.height // _COARSE) * (config.width // _COARSE), len(COMPONENTS)
        )
        nn.init.zeros_(self.direct.weight)
        self.register_buffer("unit", torch.ones(len(COMPONENTS)))  # metres or radians of an output of 1

    def forward(self, comparisons: Tensor) -> Tensor:
        """Motions [N, 5] of comparisons [N, 9, H/4, W/4]."""
        flow = F.avg_pool2d(comparisons[:, :_FLOW_CHANNELS], _COARSE // _SCALE)
        outputs: Tensor = self.layers(comparisons) + self.direct(flow.flatten(1))
        return outputs * self.get_buffer("unit")

    @torch.no_grad()
    def estimate(self, frames: npt.NDArray[np.uint8], step_frames: int | None = None) -> npt.NDArray[np.float64]:
        """Motion [5] from the first to the last of ``frames`` uint8 [F, H, W, 3], composed of equal steps.

        Args:
            frames: at least two, of any size; e.g. the last frame of the history and the frames of a chunk.
            step_frames: frames per comparison, about; the configuration's if None.

        Raises:
            InputError: fewer than two frames.
        """
        if len(frames) < 2:
            raise InputError(f"the motion of {len(frames)} frame(s) was asked for; it takes at least two")
        steps = max(1, round((len(frames) - 1) / (step_frames or self.config.step_frames)))
        chosen = np.linspace(0, len(frames) - 1, steps + 1).round().astype(int)
        shown = _resized(frames[chosen], self.config.height, self.config.width)
        pairs = comparison(shown, [(i, i + 1) for i in range(steps)])
        return compose(self(pairs).double().numpy())

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
            model = cls(MotionEstimatorConfig(**{**values, "channels": tuple(values["channels"])}))
            state = load_file(folder / "model.safetensors")
            model.load_state_dict({name: value.float() for name, value in state.items()})
        except Exception as error:  # json, safetensors and torch raise many types for damaged files
            raise CheckpointError(f"no usable motion estimator in {folder}: {error}") from error
        return model.eval()


def comparison(frames: npt.NDArray[np.uint8], pairs: Sequence[tuple[int, int]]) -> Tensor:
    """What the network sees of pairs of frames.

    Args:
        frames: uint8 [N, H, W, 3].
        pairs: P pairs of indices, (start, end).

    Returns:
        float32 [P, 9, H/4, W/4]: optical flow (right, down) in units of 8 pixels, what is left of the difference of
        the two frames after following it, start and end in [-1, 1]; all averaged over 4x4 pixels.
    """
    import cv2

    finder: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    grey = [cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR) for frame in frames]
    found = np.empty((len(pairs), 3, height, width), dtype=np.float32)
    for out, (start, end) in zip(found, pairs, strict=True):
        flow: npt.NDArray[Any] = finder.calc(grey[start], grey[end], None)
        followed = cv2.remap(
            grey[end], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        out[:2] = flow.transpose(2, 0, 1) / _FLOW_UNIT
        out[2] = np.abs(followed.astype(np.float32) - grey[start]) / _RESIDUAL_UNIT
    small = F.avg_pool2d(torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32)), _SCALE) / 127.5 - 1
    starts, ends = (list(side) for side in zip(*pairs, strict=True))
    return torch.cat([F.avg_pool2d(torch.from_numpy(found), _SCALE), small[starts], small[ends]], dim=1)


def _resized(frames: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    if frames.shape[1:3] == (height, width):
        return frames
    import cv2

    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
