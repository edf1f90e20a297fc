"""Fits the motion of a walker's camera to points that were followed from one frame to the next.

The unknowns are five: the way (right, down, forward) and the turn (yaw, pitch); there is no roll. How far away a point
is, is not known, but a walker knows something about it: below the horizon it most likely lies on the level ground, the
distance of which follows from the height of the eyes, and with it the metre; otherwise it stands nearer. Above the
horizon it is far away or, again, nearer. Each point is thus a mixture of these two and of a share of wrong matches, and
its unknown distance is integrated out: it makes the point's position uncertain along the line on which the point would
move with the distance (the epipolar line), and along no other. Expectation maximisation from five guesses (standing,
and walking each way) finds the motion that explains the points best.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.tracking import Tracks
from gamecraft.intrinsics import Intrinsics

__all__ = ["View", "fit_motion"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class View:
    """The first of two frames: ``height`` and ``width`` in pixels, the lens, the camera's ``pitch`` (radians, upwards)
    and its height above the ground (``eyes``, metres)."""

    height: int
    width: int
    lens: Intrinsics
    pitch: float
    eyes: float


# Guesses [5]: metres right, down, forward, radians of yaw and pitch.
_GUESSES = np.zeros((5, 5))
_GUESSES[1:, 2] = 0.5, -0.5, 0, 0
_GUESSES[1:, 0] = 0, 0, 0.5, -0.5
# Weak knowledge that keeps what cannot be seen at zero: standard deviations of the motion between two frames.
_USUAL = np.array([1, 0.3, 1, 0.3, 0.3])
_WRONG = 0.1  # share of wrong matches, anywhere in the picture
_ROUNDS = 10
_TRIAL, _KEPT = 4, 2  # after so many rounds only the best guesses go on
_DOUBT = (4.0, 2.0)  # by how much the first rounds enlarge the points' standard deviations: guesses are far off
_LARGEST_STEP = 0.7
_NEAREST = 0.05  # metres


def fit_motion(tracks: Tracks, view: View) -> Array:
    """The motion [5] (right, down, forward in metres in the heading frame; yaw, pitch in radians) between two frames.

    Without any point it is zero.
    """
    rays = _rays(tracks.start, view)
    mean, spread, share = _inverse_distances(rays, view)
    precision = 1 / np.square(_USUAL)
    motions = _GUESSES
    for number in range(_ROUNDS + 1):
        doubt = _DOUBT[number] if number < len(_DOUBT) else 1.0
        seen, by_motion, by_distance = _predict(motions, rays, mean, view)
        weights = _precisions(doubt**2 * tracks.covariance.T, spread, by_distance)
        missing = tracks.end.T[:, None] - seen
        pulled = _weighted(weights, missing)
        density = share * np.sqrt(weights[:, 0] * weights[:, 2] - weights[:, 1] ** 2) / (2 * math.pi)
        density *= np.exp(-(missing * pulled).sum(axis=1) / 2)
        total = density.sum(axis=1) + _WRONG / (view.height * view.width)
        likelihood = np.log(total).sum(axis=1) - 0.5 * (precision * motions**2).sum(axis=1)
        if number == _ROUNDS:
            break
        trust = weights * (density / total[:, None])[:, None]
        slopes = by_motion.reshape(*by_motion.shape[:2], -1)
        weighted = _weighted(trust[:, None], by_motion).reshape(slopes.shape)
        system = weighted @ np.swapaxes(slopes, 1, 2) + np.diag(precision)
        pull = (weighted @ missing.reshape(len(motions), -1, 1))[..., 0] - precision * motions
        step = np.linalg.solve(system, pull[..., None])[..., 0]
        motions = motions + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        if number == _TRIAL:
            motions = motions[np.argsort(likelihood)[-_KEPT:]]
    return np.asarray(motions[likelihood.argmax()])


def _rays(points: Array, view: View) -> Array:
    """Lines of sight [N, 3] of points [N, 2] in pixels, in the camera's frame, 1 forward."""
    lens = view.lens
    x = ((points[:, 0] + 0.5) / view.width - lens.cx) / lens.fx
    y = ((points[:, 1] + 0.5) / view.height - lens.cy) / lens.fy
    return np.stack([x, y, np.ones(len(points))], axis=1)


def _inverse_distances(rays: Array, view: View) -> tuple[Array, Array, Array]:
    """Mean, standard deviation (1 / metres along the camera's axis) and share [2, N] of ground (or far), and nearer."""
    falling = rays[:, 1] * math.cos(view.pitch) - math.sin(view.pitch)
    below = falling > 0
    ground = np.maximum(falling, 0) / view.eyes
    mean = np.stack([np.where(below, ground, 0.01), np.where(below, ground + 0.12, 0.1)])
    spread = np.stack([np.where(below, 0.08 * ground + 0.003, 0.01), np.full(len(rays), 0.12)])
    share = np.stack([np.where(below, 0.6, 0.45), np.where(below, 0.3, 0.45)])
    return mean, spread, share


def _predict(motions: Array, rays: Array, nearness: Array, view: View) -> tuple[Array, Array, Array]:
    """Where points of inverse distance ``nearness`` [K, N] are seen after the motions [S, 5], in pixels.

    The points are last everywhere: numpy is slow where the last dimension is short.

    Returns:
        positions [S, 2, K, N], their derivatives by the motion [S, 5, 2, K, N] and by ``nearness`` [S, 2, K, N].
    """
    level = _tilt(view.pitch).T  # from the heading frame to the camera's
    way = motions[:, :3] @ level.T
    yaw, pitch = motions[:, 3], view.pitch + motions[:, 4]
    turn, turn_slope = _turn(yaw), _turn(yaw + math.pi / 2) - np.diag([0, 1.0, 0])
    tilt, tilt_slope = _tilt(pitch), _tilt(pitch + math.pi / 2) - np.diag([1.0, 0, 0])
    rotation = level @ turn @ tilt
    points = rays.T[:, None] - nearness * way[:, :, None, None]
    space = _turned(points, rotation)
    slopes = np.empty((len(motions), 5, *space.shape[1:]))
    slopes[:, :3] = -nearness * (turn @ tilt)[..., None, None]
    slopes[:, 3] = _turned(points, level @ turn_slope @ tilt)
    slopes[:, 4] = _turned(points, level @ turn @ tilt_slope)
    by_distance = -(way[:, None] @ rotation)[:, 0, :, None, None]
    focal = np.array([view.lens.fx * view.width, view.lens.fy * view.height])[:, None, None]
    middle = np.array([view.lens.cx * view.width, view.lens.cy * view.height])[:, None, None] - 0.5
    depth = np.maximum(space[:, 2:], _NEAREST)
    plane = space[:, :2] / depth
    scale = focal / depth
    motion_slopes = scale[:, None] * (slopes[:, :, :2] - plane[:, None] * slopes[:, :, 2:])
    return plane * focal + middle, motion_slopes, scale * (by_distance[:, :2] - plane * by_distance[:, 2:])


def _turned(points: Array, rotation: Array) -> Array:
    """Points [S, 3, K, N] seen from cameras turned by rotations [S, 3, 3]."""
    return np.asarray((np.swapaxes(rotation, 1, 2) @ points.reshape(*points.shape[:2], -1)).reshape(points.shape))


def _turn(yaw: Array) -> Array:
    """Rotations [S, 3, 3] about the vertical."""
    sin, cos, zero = np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)
    return np.stack([cos, zero, sin, zero, zero + 1, zero, -sin, zero, cos], axis=-1).reshape(*yaw.shape, 3, 3)


def _tilt(pitch: Array | float) -> Array:
    """Rotations [..., 3, 3] upwards."""
    sin, cos = np.sin(pitch), np.cos(pitch)
    zero = np.zeros_like(sin)
    return np.stack([zero + 1, zero, zero, zero, cos, -sin, zero, sin, cos], axis=-1).reshape(*sin.shape, 3, 3)


def _precisions(covariance: Array, spread: Array, by_distance: Array) -> Array:
    """Inverse covariances [S, 3, K, N] (elements xx, xy, yy) of where points are seen: of the tracking [3, N], and of
    distances that are known up to ``spread`` [K, N] and move the points by ``by_distance`` [S, 2, K, N]."""
    x, y = by_distance[:, 0], by_distance[:, 1]
    variance = spread**2
    xx, xy, yy = (known + variance * moved for known, moved in zip(covariance, (x * x, x * y, y * y), strict=True))
    return np.asarray(np.stack([yy, -xy, xx], axis=1) / (xx * yy - xy * xy)[:, None])


def _weighted(symmetric: Array, values: Array) -> Array:
    """Symmetric 2x2 matrices [..., 3, K, N] times values [..., 2, K, N]."""
    xx, xy, yy = (symmetric[..., index, :, :] for index in range(3))
    x, y = values[..., 0, :, :], values[..., 1, :, :]
    return np.stack([xx * x + xy * y, xy * x + yy * y], axis=-3)
