"""From a path in a world of unknown orientation and scale to a walker's: upright, without roll, in metres."""

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import DEFAULT_MOVE_SPEED
from gamecraft.trajectory import CameraState, camera_poses, relative_to

__all__ = ["motion_scale", "roll_degrees", "upright", "without_roll"]

Array = NDArray[np.float64]

_SURE = np.sin(np.radians(4)) ** 2
_STANDS = 0.2  # share of a fast step below which a frame stands still


def upright(poses: Array) -> Array:
    """Turn a path [F, 4, 4] so that down is y, the first camera is at the origin and looks along z.

    A walker does not roll: the cameras' x axes are all level, so down is where none of them points. If the camera
    hardly turns that leaves a choice, and the cameras are taken to be level on average.
    """
    sideways = poses[:, :3, 0]
    values, vectors = np.linalg.eigh(sideways.T @ sideways / len(poses))
    mean_down = poses[:, :3, 1].mean(axis=0)
    if values[1] > _SURE:
        down = vectors[:, 0] * np.sign(vectors[:, 0] @ mean_down)
    else:
        side = vectors[:, 2]
        down = mean_down - (mean_down @ side) * side
        down = down / np.linalg.norm(down)
    forward = poses[0, :3, 2] - (poses[0, :3, 2] @ down) * down
    forward = forward / np.linalg.norm(forward)
    world = np.eye(4)
    world[:3, :3] = np.stack([np.cross(down, forward), down, forward], axis=1)
    world[:3, 3] = poses[0, :3, 3]
    return relative_to(poses, world)


def roll_degrees(poses: Array) -> float:
    """The largest roll of an upright path [F, 4, 4], in degrees."""
    return float(np.degrees(np.abs(np.arcsin(np.clip(poses[:, 1, 0], -1, 1))).max()))


def without_roll(poses: Array) -> Array:
    """The path [F, 4, 4] with every camera turned about its line of sight until its x axis is level."""
    states = [CameraState.from_pose(pose) for pose in poses]
    yaws, pitches = np.array([state.yaw for state in states]), np.array([state.pitch for state in states])
    return camera_poses(poses[:, :3, 3], yaws, pitches)


def motion_scale(poses: Array) -> float:
    """What to multiply positions by so that the typical step of the moving frames is ``DEFAULT_MOVE_SPEED`` metres.

    Pictures alone do not tell a giant's world from a dwarf's. 1 if nothing moves.
    """
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    fast = float(np.percentile(steps, 90)) if len(steps) else 0.0
    if fast <= 1e-9:
        return 1.0
    return DEFAULT_MOVE_SPEED / float(np.median(steps[steps > _STANDS * fast]))
