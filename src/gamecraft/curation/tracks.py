"""Points followed through a clip: corners, tracked from frame to frame, as far as tracking forth and back agrees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sighting", "track_points"]

_POINTS = 500
_QUALITY, _APART = 0.01, 7  # of the strongest corner; pixels
_AGREEMENT = 0.5  # pixels between a point and where it is tracked to and back from
_WINDOW = (15, 15)
_LEVELS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """What is seen in one frame: ``points`` float32 [N, 2] in pixels of the tracks numbered ``ids`` int64 [N]."""

    ids: NDArray[np.int64]
    points: NDArray[np.float32]


def track_points(frames: Iterable[NDArray[np.uint8]]) -> list[Sighting]:
    """Follow up to 500 points through frames uint8 [H, W, 3]; new points replace those that are lost."""
    import cv2

    sightings: list[Sighting] = []
    before: NDArray[np.uint8] | None = None
    ids, points = np.empty(0, np.int64), np.empty((0, 2), np.float32)
    unused = 0
    for frame in frames:
        grey = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        if before is not None and len(points):
            keep, points = _follow(before, grey, points)
            ids, points = ids[keep], points[keep]
        new = _new_points(grey, points)
        ids = np.concatenate([ids, np.arange(unused, unused + len(new))])
        points = np.concatenate([points, new])
        unused += len(new)
        sightings.append(Sighting(ids=ids, points=points))
        before = grey
    return sightings


def _follow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Where the points [N, 2] are now, and which of them are tracked reliably."""
    import cv2

    options = {"winSize": _WINDOW, "maxLevel": _LEVELS}
    forth, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points[:, None], None, **options)  # type: ignore[call-overload]
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, forth, None, **options)  # type: ignore[call-overload]
    apart = np.linalg.norm(back[:, 0] - points, axis=1)
    height, width = after.shape
    inside = ((forth[:, 0] >= 0) & (forth[:, 0] < (width, height))).all(axis=1)
    reliable = (found[:, 0] == 1) & (found_back[:, 0] == 1) & (apart < _AGREEMENT) & inside
    return reliable, np.asarray(forth[:, 0], dtype=np.float32)


def _new_points(grey: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners [N, 2] away from the points that are already followed."""
    import cv2

    missing = _POINTS - len(points)
    if missing < _POINTS // 10:
        return np.empty((0, 2), np.float32)
    free = np.full(grey.shape, 255, np.uint8)
    for x, y in points.astype(int):
        cv2.circle(free, (int(x), int(y)), _APART, 0, -1)
    corners = cv2.goodFeaturesToTrack(grey, missing, _QUALITY, _APART, mask=free)
    return np.empty((0, 2), np.float32) if corners is None else np.asarray(corners, np.float32).reshape(-1, 2)
