"""Between the fourth stage and the fifth: the focal length of recordings of which nobody knows it.

Some clips are tried. Where the camera turns without moving, only the true focal length lets rotations explain all
tracks; where it moves, COLMAP estimates the focal length along with the path. Clips must agree, or nothing is said.
Pixels are taken to be square and the optical axis to pass through the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.recording import read_grid
from gamecraft.curation.sfm import load_colmap, rotations, structure, turning
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.curation.tracks import track_points
from gamecraft.errors import InputError

__all__ = ["Focal", "estimate_focal"]

_WIDTH, _STRIDE = 640, 2
_STEP = 1.1  # from one candidate to the next
_CANDIDATES = 0.25 * _STEP ** np.arange(22)  # 127 to 22 degrees across
_TURN = np.radians(12)  # of a turn that tells
_HALVINGS = 4  # of that step while closing in
_SHARP = 0.08  # pixels by which focal lengths one and a half steps off must be worse
_PLACED = 0.8  # share of the key frames


@dataclass(frozen=True, kw_only=True)
class Focal:
    """Estimates a recording's focal length.

    Attributes:
        clips: of a recording to try; 0 to estimate nothing and assume ``assumed_fx``.
        agree: least number of clips that must tell.
        spread: largest median deviation from their median, as a share of it.
    """

    name: ClassVar[str] = "focal"
    version: ClassVar[int] = 1

    clips: int = 8
    agree: int = 3
    spread: float = 0.06

    def __post_init__(self) -> None:
        if self.clips < 0 or self.agree < 1:
            raise InputError(f"focal needs clips from 0 and agree from 1, received {self.clips} and {self.agree}")

    def process(self, unit: Unit, store: Store) -> Result:
        """``fx`` in picture widths, None if the clips do not tell; ``estimates`` of each clip."""
        clip = unit.inputs
        firsts = clip["clips"]
        tried = firsts[:: max(1, len(firsts) // self.clips)][: self.clips] if self.clips else []
        estimates = []
        for first in tried:
            frames = read_grid(Path(unit.place), clip["fps"], first=first, count=clip["frames"], width=_WIDTH)
            estimates.append(estimate_focal(list(frames)))
        found = np.array([value for value in estimates if value is not None])
        fx = None
        if len(found) >= self.agree:
            middle = float(np.median(found))
            fx = round(middle, 5) if np.median(np.abs(found / middle - 1)) <= self.spread else None
        return {"fx": fx, "estimates": [[first, value] for first, value in zip(tried, estimates, strict=True)]}


def estimate_focal(frames: Sequence[NDArray[np.uint8]]) -> float | None:
    """The focal length in picture widths that explains a clip of frames uint8 [H, W, 3]; None if it does not tell."""
    height, width = frames[0].shape[:2]
    sightings = track_points(frames)
    keys = [*range(0, len(frames), _STRIDE)]
    seen = [sightings[key] for key in keys]
    centre = np.array([width / 2, height / 2])

    def error(fx: float) -> float:
        found = rotations(seen, np.full(2, fx * width), centre)
        return np.inf if found is None else float(np.median(found[1]))

    fx, sharp = _least(error)
    path = turning(keys, seen, np.full(2, fx * width), centre)
    if path is not None:
        return round(fx, 5) if sharp and _largest_turn(path.poses) > _TURN else None
    camera = load_colmap().Camera(model="SIMPLE_PINHOLE", width=width, height=height, params=[width / 2, *centre])
    found = structure(keys, seen, camera)
    if found is None or len(found[0].frames) < _PLACED * len(keys):
        return None
    focal: float = round(float(found[1]) / width, 5)
    return focal


def _least(error: Callable[[float], float]) -> tuple[float, bool]:
    """The focal length of the least error, and whether those one and a half steps off are worse enough to tell."""
    errors = [error(float(candidate)) for candidate in _CANDIDATES]
    best = float(_CANDIDATES[int(np.argmin(errors))])
    step = _STEP
    for _ in range(_HALVINGS):
        step = step**0.5
        near = {fx: error(fx) for fx in (best / step, best, best * step)}
        best = min(near, key=near.__getitem__)
    beside = min(error(best / _STEP**1.5), error(best * _STEP**1.5))
    return best, beside > error(best) + _SHARP


def _largest_turn(poses: NDArray[np.float64]) -> float:
    """Largest angle in radians between the first view direction and another one."""
    return float(np.arccos(np.clip(poses[:, :3, 2] @ poses[0, :3, 2], -1, 1)).max())
