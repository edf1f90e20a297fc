"""The poses of frames between key frames, from the points that the key frames' structure has found."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.tracks import Sighting

__all__ = ["resect"]

Array = NDArray[np.float64]

_LEAST = 15  # points
_ROUNDS = 6
_HUBER = 0.5  # pixels, from which errors count less than by their square


def resect(pose: Array, seen: Sighting, points: Mapping[int, Array], focal: Array, centre: Array) -> Array:
    """The camera-to-world pose [4, 4] near ``pose`` that explains best where known points are seen.

    ``pose`` itself if too few are.

    Args:
        seen: what is seen in the frame. points: [3] by the number of their track.
        focal, centre: [2] of the lens, in pixels.
    """
    known = [row for row, track in enumerate(seen.ids.tolist()) if track in points]
    if len(known) < _LEAST:
        return pose
    world = np.array([points[track] for track in seen.ids[known].tolist()])
    places = (seen.points[known] + 0.5 - centre) / focal
    found = pose.copy()
    for _ in range(_ROUNDS):
        x, y, z = ((world - found[:3, 3]) @ found[:3, :3]).T
        front = z > 0  # what is behind the camera cannot have been seen
        z = np.where(front, z, 1.0)
        u, v, near, none = x / z, y / z, 1 / z, np.zeros_like(z)
        missed = places - np.stack([u, v], axis=1)
        weights = front / np.maximum(1, np.linalg.norm(missed * focal, axis=1) / _HUBER)
        # How u and v change when the camera turns about its own axes, and when it moves along them.
        slope_u = np.stack([u * v, -(1 + u * u), v, -near, none, u * near], axis=1)
        slope_v = np.stack([1 + v * v, -u * v, -u, none, -near, v * near], axis=1)
        slopes = np.concatenate([slope_u, slope_v])
        both = np.concatenate([weights, weights])[:, None]
        change = np.linalg.lstsq(
            slopes.T @ (both * slopes), slopes.T @ (both[:, 0] * missed.T.reshape(-1)), rcond=None
        )[0]
        found = found @ _small_motion(change)
    return found


def _small_motion(change: Array) -> Array:
    """The rigid motion [4, 4] of three angles in radians about the axes and three lengths along them."""
    import cv2

    motion = np.eye(4)
    motion[:3, :3] = cv2.Rodrigues(change[:3])[0]
    motion[:3, 3] = change[3:]
    return motion
