"""Rotations as unit quaternions (x, y, z, w), in numpy."""

import numpy as np
import numpy.typing as npt

__all__ = ["quaternions_to_rotations", "rotations_to_quaternions", "slerp"]

Array = npt.NDArray[np.float64]


def rotations_to_quaternions(rotations: Array) -> Array:
    """Rotation matrices [F, 3, 3] as quaternions [F, 4] with w >= 0."""
    r = np.asarray(rotations, dtype=np.float64)
    xx, yy, zz = r[:, 0, 0], r[:, 1, 1], r[:, 2, 2]
    # Row i is the quaternion times four of its i-th element; the longest row is the best conditioned one.
    candidates = np.empty((len(r), 4, 4))
    candidates[:, 0, 0] = 1 + xx - yy - zz
    candidates[:, 1, 1] = 1 - xx + yy - zz
    candidates[:, 2, 2] = 1 - xx - yy + zz
    candidates[:, 3, 3] = 1 + xx + yy + zz
    for i, j in ((0, 1), (0, 2), (1, 2)):
        candidates[:, i, j] = candidates[:, j, i] = r[:, j, i] + r[:, i, j]
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        candidates[:, i, 3] = candidates[:, 3, i] = r[:, k, j] - r[:, j, k]
    best = candidates[np.arange(len(r)), np.argmax(np.einsum("fii->fi", candidates), axis=1)]
    quaternions = best / np.linalg.norm(best, axis=1, keepdims=True)
    return np.asarray(np.where(quaternions[:, 3:] < 0, -quaternions, quaternions))


def quaternions_to_rotations(quaternions: Array) -> Array:
    """Quaternions [F, 4] of any length above 0 as rotation matrices [F, 3, 3]."""
    q = np.asarray(quaternions, dtype=np.float64)
    x, y, z, w = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def slerp(start: Array, end: Array, weight: Array) -> Array:
    """Turn the short way from unit quaternions ``start`` to ``end`` [F, 4] by the shares ``weight`` [F], 0 to 1."""
    dot = np.sum(start * end, axis=1)
    end = np.where(dot[:, None] < 0, -end, end)
    angle = np.arctan2(np.linalg.norm(end - start, axis=1), np.linalg.norm(end + start, axis=1)) * 2
    # For (nearly) equal ends sin(angle) is no divisor, and a straight line is the same thing.
    small = angle < 1e-6
    sin = np.where(small, 1.0, np.sin(angle))
    first = np.where(small, 1 - weight, np.sin((1 - weight) * angle) / sin)
    second = np.where(small, weight, np.sin(weight * angle) / sin)
    mixed = first[:, None] * start + second[:, None] * end
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
