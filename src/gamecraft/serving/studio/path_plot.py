"""A script as a picture: the path from above, and which keys are held when. Plain SVG in the page's colours."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action, Key, motion
from gamecraft.trajectory import integrate

__all__ = ["draw_path"]

_WIDTH, _MAP, _LANE, _LEFT = 640, 300, 15, 46
_MARGIN = 26
_MAX_POINTS = 600
_ACCENT, _QUIET = "#e8862e", "#8899a6"


def draw_path(actions: Sequence[Action], fps: int, smoothing: float = 0.0) -> str:
    """An SVG of F actions, at least one.

    Raises:
        ActionError: the smoothing is out of range.
    """
    poses, _ = integrate(motion(actions, smoothing))
    held = [key for key in Key if any(key in action.keys for action in actions)]
    looks = any(any(action.look) for action in actions)
    lanes = [*map(str, held), *(["mouse"] if looks else [])]
    height = _MAP + 14 + _LANE * len(lanes) + 22
    parts = [*_map(poses), *_keys(actions, lanes), *_clock(len(actions), fps, height)]
    last = poses[-1, :3, 3]
    yaw = math.degrees(math.atan2(poses[-1, 0, 2], poses[-1, 2, 2]))
    words = f"{len(actions)} frames, ends {last[2]:.1f} m ahead, {last[0]:.1f} m to the right, turned {yaw:.0f} degrees"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{words}" style="width:100%;max-width:{_WIDTH}px" '
        f'font-family="inherit" font-size="11" fill="currentColor">{"".join(parts)}</svg>'
        f'<div style="opacity:.75;font-size:.9em">{words}</div>'
    )


def _map(poses: NDArray[np.float64]) -> Iterator[str]:
    """Seen from above, forward upwards: the line walked, the way looked, start and end."""
    track = np.concatenate([[[0.0, 0.0]], poses[:, [0, 2], 3]])
    low, high = track.min(axis=0), track.max(axis=0)
    extent = max(float((high - low).max()), 1.0)
    scale = (_MAP - 2 * _MARGIN) / extent
    centre = (low + high) / 2

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(
            [_WIDTH / 2 + (points[:, 0] - centre[0]) * scale, _MAP / 2 - (points[:, 1] - centre[1]) * scale], axis=1
        )

    line = place(track)
    every = max(1, len(line) // _MAX_POINTS)
    kept = np.concatenate([line[::every], line[-1:]])
    yield f'<rect width="{_WIDTH}" height="{_MAP}" rx="8" fill="currentColor" opacity=".06"/>'
    looks = poses[:: max(1, len(poses) // 24)]
    starts = place(looks[:, [0, 2], 3])
    ahead = looks[:, [0, 2], 2] / np.maximum(1e-9, np.linalg.norm(looks[:, [0, 2], 2], axis=1, keepdims=True))
    for (x, y), (right, forward) in zip(starts, ahead, strict=True):
        yield _stroke(x, y, x + 13 * right, y - 13 * forward, _QUIET, 1.5)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in kept)
    yield f'<polyline points="{points}" fill="none" stroke="{_ACCENT}" stroke-width="3" stroke-linejoin="round"/>'
    (x, y), (u, v) = line[0], line[-1]
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="currentColor" stroke-width="2"/>'
    yield f'<circle cx="{u:.1f}" cy="{v:.1f}" r="5" fill="{_ACCENT}" stroke="currentColor" stroke-width="2"/>'
    yield from _scale_bar(extent, scale)


def _scale_bar(extent: float, scale: float) -> Iterator[str]:
    metres = 10 ** math.floor(math.log10(extent))
    length, y = metres * scale, _MAP - 12
    yield _stroke(14, y, 14 + length, y, "currentColor", 2)
    yield f'<text x="{20 + length:.0f}" y="{y + 4}">{metres:g} m</text>'


def _keys(actions: Sequence[Action], lanes: Sequence[str]) -> Iterator[str]:
    """One lane for each key, with a bar where it is held."""
    unit = (_WIDTH - _LEFT) / len(actions)
    for index, lane in enumerate(lanes):
        y = _MAP + 14 + index * _LANE
        yield f'<text x="{_LEFT - 8}" y="{y + 10}" text-anchor="end">{lane}</text>'
        first = 0
        for held, group in groupby(any(each.look) if lane == "mouse" else lane in each.keys for each in actions):
            count = len(list(group))
            if held:
                x, width = _LEFT + first * unit, max(1.0, count * unit - 1)
                yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_LANE - 4}" rx="3" fill="{_ACCENT}"/>'
            first += count


def _clock(frames: int, fps: int, height: int) -> Iterator[str]:
    """Seconds beneath the lanes."""
    seconds = frames / fps
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800) if seconds / step <= 10)
    for tick in range(int(seconds / step) + 1):
        x = min(_LEFT + (_WIDTH - _LEFT) * tick * step / seconds, _WIDTH - 14)
        yield f'<text x="{x:.0f}" y="{height - 6}" opacity=".7" text-anchor="middle">{tick * step:g} s</text>'


def _stroke(x: float, y: float, u: float, v: float, colour: str, width: float) -> str:
    return (
        f'<path d="M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'
    )
