"""Relative camera motion as five numbers: right, down, forward (metres), yaw and pitch (radians).

The translation is in the *heading frame* of the first camera: forward is where it looks, kept level, as in
``gamecraft.trajectory``. A walker's motion is then (0, 0, metres, 0, 0) wherever the walker looks up or down to.
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from gamecraft.trajectory import CameraState, camera_poses

__all__ = ["COMPONENTS", "compose", "poses_after", "relative_motion"]

COMPONENTS = ("right", "down", "forward", "yaw", "pitch")

Array = npt.NDArray[np.float64]


def relative_motion(start: Array, end: Array) -> Array:
    """Motion [N, 5] from camera-to-world poses ``start`` [N, 4, 4] to ``end`` [N, 4, 4], both without roll."""
    yaw, pitch = _angles(start)
    end_yaw, end_pitch = _angles(end)
    sin, cos = np.sin(yaw), np.cos(yaw)
    x, y, z = (end[:, :3, 3] - start[:, :3, 3]).T
    turned = (end_yaw - yaw + math.pi) % (2 * math.pi) - math.pi
    return np.stack([cos * x - sin * z, y, sin * x + cos * z, turned, end_pitch - pitch], axis=1)


def compose(steps: Iterable[Array]) -> Array:
    """The motion [5] that results from motions [5] one after the other."""
    total = np.zeros(5)
    for right, down, forward, yaw, pitch in steps:
        sin, cos = math.sin(total[3]), math.cos(total[3])
        total += (cos * right + sin * forward, down, cos * forward - sin * right, yaw, pitch)
    return total


def poses_after(start: CameraState, steps: Iterable[Array]) -> Array:
    """Camera-to-world poses [S + 1, 4, 4]: that of ``start``, and those after each of S motions [5]."""
    (x, y, z), yaw, pitch = start.position, start.yaw, start.pitch
    track = [(x, y, z, yaw, pitch)]
    for right, down, forward, turn, tilt in steps:
        sin, cos = math.sin(yaw), math.cos(yaw)
        x, y, z = x + cos * right + sin * forward, y + down, z + cos * forward - sin * right
        yaw, pitch = yaw + turn, pitch + tilt
        track.append((x, y, z, yaw, pitch))
    values = np.array(track, dtype=np.float64)
    return camera_poses(values[:, :3], values[:, 3], values[:, 4])


def _angles(poses: Array) -> tuple[Array, Array]:
    forward = poses[:, :3, 2]
    return np.arctan2(forward[:, 0], forward[:, 2]), np.arctan2(-forward[:, 1], np.hypot(forward[:, 0], forward[:, 2]))
