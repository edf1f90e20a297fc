"""From poses back to actions: the inverse of the action space, as far as keys can express it."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import MAX_MOVE_SPEED, Action, Key, key_motion, motion
from gamecraft.trajectory import CameraState, integrate

__all__ = ["actions_from_poses", "motion_from_poses", "replay_error"]

Array = NDArray[np.float64]

_STILL = 0.01  # metres per frame below which nobody holds a key
_RETURN = 0.15  # share of the replay's lag that the next frame makes up for
_AXES = ((Key.A, None, Key.D), (Key.SPACE, None, Key.CTRL), (Key.S, None, Key.W))


def motion_from_poses(poses: Array) -> Array:
    """Motion [F - 1, 5] that ``gamecraft.trajectory.integrate`` turns into poses 1 to F - 1 when it starts at pose 0.

    Args:
        poses: [F, 4, 4] camera-to-world without roll.
    """
    states = [CameraState.from_pose(pose) for pose in poses]
    yaw, pitch = np.array([state.yaw for state in states]), np.array([state.pitch for state in states])
    x, y, z = np.diff(poses[:, :3, 3], axis=0).T
    # The walker turns first and then moves along the new heading.
    sin, cos = np.sin(yaw[1:]), np.cos(yaw[1:])
    turned = (np.diff(yaw) + np.pi) % (2 * np.pi) - np.pi
    return np.stack([cos * x - sin * z, y, sin * x + cos * z, turned, np.diff(pitch)], axis=1)


def actions_from_poses(poses: Array) -> list[Action]:
    """F actions, of which the first is idle: turns as mouse motion, steps as the keys of the nearest direction.

    Keys point in 26 directions only, so a replay leaves the path a little; the next keys make up for some of that.
    """
    rows = motion_from_poses(poses)
    directions = _directions()
    matrix = np.stack([direction for _, direction in directions])
    actions = [Action()]
    state = CameraState.from_pose(poses[0])
    heading = state.yaw
    lag = np.zeros(3)
    for row, pose in zip(rows, poses[1:], strict=True):
        heading += row[3]
        wanted = row[:3] + _RETURN * _to_heading(lag, heading)
        look = (float(row[3]), float(row[4]))
        if np.linalg.norm(row[:3]) < _STILL:
            action = Action(look=look)
        else:
            best = int(np.argmax(matrix @ wanted))
            speed = float(np.clip(matrix[best] @ wanted, 0.0, MAX_MOVE_SPEED))
            action = Action(keys=directions[best][0], look=look, move_speed=speed)
        _, state = integrate(motion([action]), state)
        lag = pose[:3, 3] - np.array(state.position)
        actions.append(action)
    return actions


def replay_error(poses: Array, actions: list[Action]) -> float:
    """Largest distance in metres between the path [F, 4, 4] and the replay of its F actions from its first pose."""
    replayed, _ = integrate(motion(actions[1:]), CameraState.from_pose(poses[0]))
    return float(np.linalg.norm(replayed[:, :3, 3] - poses[1:, :3, 3], axis=1).max(initial=0.0))


def _directions() -> list[tuple[frozenset[Key], Array]]:
    """The 26 key combinations that move, with their unit directions (right, down, forward)."""
    found = []
    for keys in itertools.product(*_AXES):
        held = frozenset(key for key in keys if key is not None)
        if held:
            found.append((held, key_motion([Action(keys=held, move_speed=0.1)])[0, :3] * 10))
    return found


def _to_heading(vector: Array, yaw: float) -> Array:
    sin, cos = np.sin(yaw), np.cos(yaw)
    x, y, z = vector
    return np.array([cos * x - sin * z, y, sin * x + cos * z])
