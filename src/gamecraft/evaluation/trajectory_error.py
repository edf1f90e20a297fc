"""How far a camera's path is from the true one: absolute and relative errors after a similarity alignment.

Definitions as in Sturm, Engelhard, Endres, Burgard, Cremers 2012, "A benchmark for the evaluation of RGB-D SLAM
systems"; the alignment as in Umeyama 1991, "Least-squares estimation of transformation parameters between two point
patterns".
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError
from gamecraft.trajectory import invert

__all__ = ["Similarity", "absolute_errors", "align", "relative_errors", "umeyama"]

Array = npt.NDArray[np.float64]

_STANDING = 1e-9  # metres squared: below this a path has no size


@dataclass(frozen=True, kw_only=True, eq=False)
class Similarity:
    """``scale * rotation @ point + translation``: rotation [3, 3], translation [3] in metres."""

    scale: float
    rotation: Array
    translation: Array

    def apply(self, poses: Array) -> Array:
        """Camera-to-world poses [F, 4, 4] in the other world; the cameras stay rigid."""
        moved = np.array(poses, dtype=np.float64)
        moved[:, :3, :3] = self.rotation @ poses[:, :3, :3]
        moved[:, :3, 3] = self.scale * poses[:, :3, 3] @ self.rotation.T + self.translation
        return moved


def umeyama(points: npt.ArrayLike, target: npt.ArrayLike) -> Similarity:
    """The similarity that brings points [N, 3] nearest to their targets [N, 3] in the sense of least squares.

    Points on a line or in one place leave the rotation partly open; any of the best ones is returned. If either side
    stands in one place there is nothing to scale by, and the scale is 1.

    Raises:
        InputError: the shapes differ, there is no point, or a number is not finite.
    """
    source, goal = np.asarray(points, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if source.shape != goal.shape or source.ndim != 2 or source.shape[1] != 3 or not len(source):
        raise InputError(f"alignment needs two sets [N, 3], received {list(source.shape)} and {list(goal.shape)}")
    if not (np.isfinite(source).all() and np.isfinite(goal).all()):
        raise InputError("alignment needs finite positions")
    source_middle, goal_middle = source.mean(axis=0), goal.mean(axis=0)
    a, b = source - source_middle, goal - goal_middle
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1, 1, math.copysign(1, np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(signs) @ vt
    variances = [float(np.square(side).sum(axis=1).mean()) for side in (a, b)]
    scale = float(singular @ signs) / variances[0] if min(variances) > _STANDING else 1.0
    return Similarity(scale=scale, rotation=rotation, translation=goal_middle - scale * rotation @ source_middle)


def align(poses: Array, true: Array) -> Array:
    """Camera-to-world poses [F, 4, 4] after Sim(3) alignment of their positions to those of the true ones."""
    return umeyama(_pair(poses, true)[:, :3, 3], true[:, :3, 3]).apply(poses)


def absolute_errors(poses: Array, true: Array) -> Array:
    """Distance [F] in metres between the positions of poses [F, 4, 4] and the true ones, without any alignment.

    The absolute trajectory error (ATE) is the root mean square of these after ``align``.
    """
    return np.asarray(np.linalg.norm(_pair(poses, true)[:, :3, 3] - true[:, :3, 3], axis=1))


def relative_errors(poses: Array, true: Array, delta: int = 1) -> tuple[Array, Array]:
    """Relative pose errors (RPE) over ``delta`` poses.

    For each i, the motion from pose i to pose i + delta against the true one.

    Returns:
        lengths of the translations of the errors [F - delta] in metres, and their angles [F - delta] in radians.

    Raises:
        InputError: the shapes differ, or there are not more than ``delta`` poses.
    """
    _pair(poses, true)
    if not 1 <= delta < len(true):
        raise InputError(f"relative errors over {delta} pose(s) need more poses than that, received {len(true)}")
    moved, wanted = (invert(track[:-delta]) @ track[delta:] for track in (poses, true))
    error = invert(wanted) @ moved
    return np.linalg.norm(error[:, :3, 3], axis=1), rotation_angles(error[:, :3, :3])


def rotation_angles(rotations: Array) -> Array:
    """Angles [N] of rotation matrices [N, 3, 3] in radians, precise for small ones too."""
    skew = np.stack(
        [
            rotations[:, 2, 1] - rotations[:, 1, 2],
            rotations[:, 0, 2] - rotations[:, 2, 0],
            rotations[:, 1, 0] - rotations[:, 0, 1],
        ],
        axis=1,
    )
    return np.asarray(np.arctan2(np.linalg.norm(skew, axis=1), np.trace(rotations, axis1=1, axis2=2) - 1))


def _pair(poses: Array, true: Array) -> Array:
    if poses.shape != true.shape or poses.shape[1:] != (4, 4):
        raise InputError(f"poses of shape {list(poses.shape)} cannot be compared with the true {list(true.shape)}")
    return poses
