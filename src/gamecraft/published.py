"""The published action lists (``--action-list w left_rot --action-speed-list 0.2 1``), with exactly their numbers.

What differs from the action language, and is kept because the released checkpoints were used that way: one action and
one speed per chunk; the speed is metres or *degrees* over the whole chunk; each chunk starts at the identity pose
again, so its last step is never shown; translations are multiplied by 10; the pixel scale of a pose file comes from the
principal point of the first selected row; ``flip`` mirrors the pixel columns and not the poses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gamecraft.errors import ActionError, InputError
from gamecraft.rays import rays_along
from gamecraft.trajectory import Trajectory, camera_poses, relative_to

__all__ = [
    "MAX_SPEED",
    "TRANSLATION_SCALE",
    "PublishedAction",
    "chunk_trajectory",
    "parse_action_list",
    "published_poses",
    "published_rays",
    "select_rows",
]

MAX_SPEED = 3.0
TRANSLATION_SCALE = 10.0

# Unit of speed as metres right, down, forward and degrees to the right, upwards.
_MOTION = {
    "w": (0, 0, 1, 0, 0),
    "s": (0, 0, -1, 0, 0),
    "a": (-1, 0, 0, 0, 0),
    "d": (1, 0, 0, 0, 0),
    "left_rot": (0, 0, 0, -1, 0),
    "right_rot": (0, 0, 0, 1, 0),
    "up_rot": (0, 0, 0, 0, 1),
    "down_rot": (0, 0, 0, 0, -1),
}


@dataclass(frozen=True, kw_only=True)
class PublishedAction:
    """One chunk of the published form.

    Attributes:
        name: w a s d, left_rot, right_rot, up_rot or down_rot.
        speed: metres (before the factor 10) or degrees over the chunk.

    Raises:
        ActionError: the name is unknown or the speed not finite.
    """

    name: str
    speed: float = 0.2

    def __post_init__(self) -> None:
        if self.name not in _MOTION:
            raise ActionError(f"unknown action {self.name!r}; the actions are {', '.join(_MOTION)}")
        if not math.isfinite(self.speed):
            raise ActionError(f"the speed of {self.name} is {self.speed}, expected a finite number")


def parse_action_list(names: Sequence[str], speeds: Sequence[float]) -> list[PublishedAction]:
    """The two command line lists as one action per chunk.

    Raises:
        ActionError: the lists are empty or of different lengths, a name is unknown, or a speed is not in 0 to 3.
    """
    if not names or len(names) != len(speeds):
        raise ActionError(f"expected one speed per action, received {len(names)} actions and {len(speeds)} speeds")
    for name, speed in zip(names, speeds, strict=True):
        if not 0 <= speed <= MAX_SPEED:
            raise ActionError(f"the speed of {name} is {speed:g}, expected 0 to {MAX_SPEED:g}")
    return [PublishedAction(name=name, speed=speed) for name, speed in zip(names, speeds, strict=True)]


def chunk_trajectory(action: PublishedAction, frames: int = 33) -> Trajectory:
    """The whole motion of one chunk: ``frames`` + 1 camera-to-world poses, of which the first is the identity.

    The published loop shows only the first ``frames`` of them, so a chunk moves (frames - 1) / frames of the speed.
    """
    x, y, z, yaw, pitch = np.multiply.outer(_MOTION[action.name], np.linspace(0.0, action.speed, frames + 1))
    position = np.stack([x, y, z], axis=1)
    return Trajectory(poses=camera_poses(position, np.radians(yaw), np.radians(pitch)))


def select_rows(trajectory: Trajectory, frames: int = 33, start: int = 0, step: int = 1) -> Trajectory:
    """Rows start, start + step, ... of a pose file, as many as a chunk has frames.

    Raises:
        InputError: the file is too short, or ``start`` or ``step`` is out of range.
    """
    last, length = start + (frames - 1) * step, len(trajectory.poses)
    if frames < 1 or start < 0 or step < 1 or last >= length:
        raise InputError(f"cannot take {frames} rows from {start} in steps of {step}: the trajectory has {length}")
    rows = slice(start, last + 1, step)
    return Trajectory(
        poses=trajectory.poses[rows], times=trajectory.times[rows], intrinsics=trajectory.intrinsics[rows]
    )


def published_poses(poses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Poses [F, 4, 4] relative to the first of them, with the translation times 10."""
    relative = relative_to(poses, poses[0])
    relative[:, :3, 3] *= TRANSLATION_SCALE
    return relative


def published_rays(trajectory: Trajectory, height: int, width: int, flip: bool = False) -> Tensor:
    """Rays [F, 6, H, W] float32 of the F poses of ``trajectory``, relative to the first (see ``published_poses``).

    Args:
        trajectory: the rows that are shown, e.g. from ``select_rows``.
        height, width: pixels.
        flip: mirror the pixel columns.
    """
    lens = torch.from_numpy(trajectory.intrinsics)[:, :, None, None]  # [F, 4, 1, 1]
    # Twice the first row's principal point stands for the picture's size, here 1.
    fx, fy, cx, cy = (lens / lens[:1, 2:].mul(2).repeat(1, 2, 1, 1)).unbind(dim=1)
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    x = ((x.flip(0) if flip else x) - cx) / fx
    y = (y[:, None] - cy) / fy
    frames = len(trajectory.poses)
    x, y = x.expand(frames, height, width), y.expand(frames, height, width)
    grid = torch.stack([x, y, torch.ones_like(x)], dim=1)
    directions = torch.nn.functional.normalize(grid, dim=1)
    return rays_along(torch.from_numpy(published_poses(trajectory.poses)), directions)
