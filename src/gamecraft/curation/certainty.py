"""How sure camera poses are, from the points that they were found with."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["certainty", "pose_deviation", "turn_deviation"]

Array = NDArray[np.float64]

_HALF_SURE = math.radians(0.05)


def certainty(deviation: float) -> float:
    """1 where the standard deviation of a camera's rotation is 0 radians, a half at a twentieth of a degree."""
    return 1 / (1 + deviation / _HALF_SURE)


def pose_deviation(points: Array, focal: Array, error: float) -> float:
    """Standard deviation in radians of the rotation of a camera whose whole pose is found.

    Where turning looks like moving, as before a flat wall, it is large.

    Args:
        points: [N, 3] known points in the camera's own coordinates, z > 0; at least three.
        focal: [2] pixels. error: of a point's place in the picture, in pixels.
    """
    u, v = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    none, near = np.zeros(len(points)), 1 / points[:, 2]
    # How x / z and y / z change when the camera turns about its axes, and when it moves along them.
    x = np.stack([-u * v, 1 + u * u, -v, near, none, -u * near], axis=1)
    y = np.stack([-(1 + v * v), u * v, u, none, near, -v * near], axis=1)
    seen = np.concatenate([focal[0] * x, focal[1] * y])
    covariance = np.linalg.pinv(seen.T @ seen, hermitian=True) * error**2
    return math.sqrt(float(np.trace(covariance[:3, :3])))


def turn_deviation(count: float, focal: Array, error: float) -> float:
    """The same of a camera that only turns, of which ``count`` points are seen."""
    return error / float(focal.mean()) / math.sqrt(count)
