"""Where the camera is: a walker's state, its poses frame by frame, poses between poses and relative to one another.

Poses are OpenCV camera-to-world matrices (x right, y down, z forward), metres and radians; the world has the same axes
as a camera at rest. There is no roll: the rotation is Ry(yaw) @ Rx(pitch), yaw > 0 turns right, pitch > 0 looks up.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.rotations import quaternions_to_rotations, rotations_to_quaternions, slerp

__all__ = [
    "MAX_PITCH",
    "CameraState",
    "Trajectory",
    "advance",
    "camera_poses",
    "integrate",
    "interpolate",
    "invert",
    "relative_to",
]

MAX_PITCH = math.radians(60)
"""Radians the walker can look up or down."""


@dataclass(frozen=True, kw_only=True)
class CameraState:
    """A walker's camera: ``position`` (x, y, z) in metres, ``yaw`` and ``pitch`` in radians."""

    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    pitch: float = 0.0

    def pose(self) -> npt.NDArray[np.float64]:
        """Camera-to-world matrix, [4, 4] float64."""
        poses = camera_poses(np.array([self.position]), np.array([self.yaw]), np.array([self.pitch]))
        return np.asarray(poses[0])

    @classmethod
    def from_pose(cls, pose: npt.NDArray[np.float64]) -> "CameraState":
        """The state that looks the way a [4, 4] camera-to-world pose does; a roll of the pose is lost."""
        forward = np.asarray(pose, dtype=np.float64)[:3, 2]
        x, y, z = (float(v) for v in np.asarray(pose)[:3, 3])
        pitch = math.atan2(-forward[1], math.hypot(forward[0], forward[2]))
        return cls(position=(x, y, z), yaw=math.atan2(forward[0], forward[2]), pitch=pitch)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """Poses with what a file may know about them.

    Attributes:
        poses: [F, 4, 4] float64 camera-to-world, rigid.
        times: [F] seconds, increasing; 24 poses per second if not given.
        intrinsics: [F, 4] fx, fy, cx, cy as in ``Intrinsics``; its defaults for every frame if not given.

    Raises:
        InputError: a shape does not fit, a number is not finite, a rotation is none, or the times do not increase.
    """

    poses: npt.NDArray[np.float64]
    times: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    intrinsics: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))

    def __post_init__(self) -> None:
        poses = _array("poses", self.poses, (-1, 4, 4))
        frames, lens = len(poses), Intrinsics()
        times = self.times if np.size(self.times) else np.arange(frames) / 24
        intrinsics = self.intrinsics
        if not np.size(intrinsics):
            intrinsics = np.tile([lens.fx, lens.fy, lens.cx, lens.cy], (frames, 1))
        object.__setattr__(self, "poses", poses)
        object.__setattr__(self, "times", _array("times", times, (frames,)))
        object.__setattr__(self, "intrinsics", _array("intrinsics", intrinsics, (frames, 4)))
        if not frames:
            raise InputError("a trajectory needs at least one pose, received none")
        bad = np.flatnonzero(~_rigid(poses))
        if bad.size:
            raise InputError(
                f"pose {bad[0]} is not a rotation and a translation; check the file's convention and order"
            )
        if (np.diff(self.times) <= 0).any():
            raise InputError(f"times must increase, but frame {np.argmax(np.diff(self.times) <= 0) + 1} does not")
        if (self.intrinsics[:, :2] <= 0).any():
            raise InputError("focal lengths must be above 0")


def advance(state: CameraState, motion_row: npt.NDArray[np.float64]) -> CameraState:
    """One frame of walking: turn first, then move along the new heading.

    Args:
        state: the camera before the frame.
        motion_row: [5], metres right, down, forward, then radians of yaw and pitch. Forward stays level whatever the
            pitch; down is the world's y. The pitch is clamped to +-``MAX_PITCH``.
    """
    return integrate(np.asarray(motion_row, dtype=np.float64)[None], state)[1]


def integrate(
    motion: npt.NDArray[np.float64], start: CameraState | None = None
) -> tuple[npt.NDArray[np.float64], CameraState]:
    """Walk F frames.

    Args:
        motion: [F, 5] as for ``advance``, e.g. from ``gamecraft.actions.motion``.
        start: the camera before the first frame; the origin, looking along z, if None.

    Returns:
        poses [F, 4, 4] float64 camera-to-world *after* each frame's motion, and the state after the last frame.

    Raises:
        InputError: ``motion`` has another shape or is not finite.
    """
    start = start or CameraState()
    rows = np.asarray(motion, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 5 or not np.isfinite(rows).all():
        raise InputError(f"motion must be finite with shape [frames, 5], received shape {list(rows.shape)}")
    # The start is the first summand so that walking in pieces rounds exactly as walking in one go.
    yaw = np.cumsum(np.concatenate([[start.yaw], rows[:, 3]]))[1:]
    pitch = _clamped_sums(start.pitch, rows[:, 4])
    right, down, forward = rows[:, 0], rows[:, 1], rows[:, 2]
    sin, cos = np.sin(yaw), np.cos(yaw)
    steps = np.stack([cos * right + sin * forward, down, cos * forward - sin * right], axis=1)
    position = np.cumsum(np.concatenate([[start.position], steps]), axis=0)[1:]
    if not len(rows):
        return np.empty((0, 4, 4)), start
    x, y, z = (float(v) for v in position[-1])
    end = CameraState(position=(x, y, z), yaw=float(yaw[-1]), pitch=float(pitch[-1]))
    return camera_poses(position, yaw, pitch), end


def camera_poses(
    position: npt.NDArray[np.float64], yaw: npt.NDArray[np.float64], pitch: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Positions [F, 3] in metres, yaws [F] and pitches [F] in radians as camera-to-world poses [F, 4, 4]."""
    sy, cy, sp, cp = np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
    zero = np.zeros_like(yaw)
    poses = np.zeros((len(yaw), 4, 4))
    poses[:, :3, 0] = np.stack([cy, zero, -sy], axis=1)
    poses[:, :3, 1] = np.stack([sy * sp, cp, cy * sp], axis=1)
    poses[:, :3, 2] = np.stack([sy * cp, -sp, cy * cp], axis=1)
    poses[:, :3, 3] = position
    poses[:, 3, 3] = 1.0
    return poses


def relative_to(poses: npt.NDArray[np.float64], reference_pose: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Poses [..., 4, 4] as seen from ``reference_pose`` [4, 4]: inverse(reference) @ pose, float64."""
    return np.asarray(invert(reference_pose) @ poses)


def interpolate(trajectory: Trajectory, times: npt.NDArray[np.float64]) -> Trajectory:
    """Poses between poses: straight lines for the position and the lens, constant turning for the rotation.

    Args:
        trajectory: at least one pose.
        times: [N] increasing seconds, from the trajectory's first to its last.

    Raises:
        InputError: a time is outside the trajectory, there is no extrapolation.
    """
    known = trajectory.times
    times = np.asarray(times, dtype=np.float64)
    if not ((times >= known[0]) & (times <= known[-1])).all():
        raise InputError(f"the trajectory lasts from {known[0]:g} to {known[-1]:g} s, received a time outside of that")
    before = np.searchsorted(known, times, side="right") - 1
    after = np.minimum(before + 1, len(known) - 1)
    gap = known[after] - known[before]
    weight = (times - known[before]) / np.where(gap == 0, 1.0, gap)
    quaternions = rotations_to_quaternions(trajectory.poses[:, :3, :3])
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, :3, :3] = quaternions_to_rotations(slerp(quaternions[before], quaternions[after], weight))
    poses[:, :3, 3] = _between(trajectory.poses[:, :3, 3], before, after, weight)
    return Trajectory(poses=poses, times=times, intrinsics=_between(trajectory.intrinsics, before, after, weight))


def invert(pose: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Inverse of rigid transforms [..., 4, 4], without a general matrix inversion."""
    pose = np.asarray(pose, dtype=np.float64)
    out = np.zeros_like(pose)
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    out[..., :3, :3] = rotation
    out[..., :3, 3] = -(rotation @ pose[..., :3, 3, None])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def _array(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    fits = array.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits or not np.isfinite(array).all():
        wanted = ["frames" if n == -1 else n for n in shape]
        raise InputError(f"{name} must be finite with shape {wanted}, received shape {list(array.shape)}")
    return array


def _rigid(poses: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    rotation = poses[:, :3, :3]
    with np.errstate(all="ignore"):  # numbers too large to square are no rotation either
        residual = np.abs(rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)).max(axis=(1, 2))
        turned_over = np.linalg.det(rotation) < 0
    bottom = np.abs(poses[:, 3] - [0, 0, 0, 1]).max(axis=1)
    return np.asarray((residual < 1e-3) & (bottom < 1e-6) & ~turned_over)


def _between(
    values: npt.NDArray[np.float64],
    before: npt.NDArray[np.intp],
    after: npt.NDArray[np.intp],
    weight: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    return np.asarray((1 - weight[:, None]) * values[before] + weight[:, None] * values[after])


def _clamped_sums(start: float, steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = np.empty(len(steps))
    for i, step in enumerate(steps):
        start = min(MAX_PITCH, max(-MAX_PITCH, start + float(step)))
        sums[i] = start
    return sums
