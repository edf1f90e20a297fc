"""Follows points from one frame to the next and says how precisely each could be followed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Tracks", "follow_points"]

Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

_BLOCK = 4  # pixels: one point is chosen per block, so that no part of the picture is left out
_WINDOW = 7  # pixels a side of what is followed; larger ones mix near and far
_LEVELS = 3
_EFFORT = (3, 20, 0.01)  # OpenCV's criteria: at most 20 iterations or a step below 0.01 pixels
_LEAST_TEXTURE = 10.0  # grey levels squared, summed over the window
_LARGEST_RETURN = 1.0  # pixels that the way there and back may miss its start
_GREY_NOISE = 1.0  # grey levels
_FLAT = 0.02  # 1 / pixels squared: what is known of the motion along an edge
_FLOOR = 0.05  # pixels squared


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """Points that were found again.

    Attributes:
        start, end: [N, 2] positions (right, down) in the two frames, in pixels; 0 is the middle of the first pixel.
        covariance: [N, 3] of ``end``: its elements xx, xy, yy in pixels squared. Along an edge it is large.
    """

    start: Array
    end: Array
    covariance: Array


def follow_points(first: Picture, second: Picture) -> Tracks:
    """Find the points of one grey picture [H, W] again in another.

    Lucas and Kanade's method in pyramids (Bouguet 2000), as in OpenCV, there and back: what does not return to where it
    started is dropped. Points on edges with a trace of texture are kept, for many a ground has no corners; the
    structure tensor of the window then says that they are known across the edge only.
    """
    import cv2

    x, y, tensor = _best_points(first)
    start = np.stack([x, y], axis=1).astype(np.float32)[:, None]
    if not len(start):
        return Tracks(start=np.empty((0, 2)), end=np.empty((0, 2)), covariance=np.empty((0, 3)))
    options: dict[str, Any] = {
        "winSize": (_WINDOW, _WINDOW),
        "maxLevel": _LEVELS,
        "criteria": _EFFORT,
        "minEigThreshold": 1e-5,
    }
    end, found, _ = cv2.calcOpticalFlowPyrLK(first, second, start, None, **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(second, first, end, None, **options)
    missed = np.square(back - start).sum(axis=(1, 2)).astype(np.float64)
    height, width = first.shape
    inside = ((end[:, 0] >= 0) & (end[:, 0] <= (width - 1, height - 1))).all(axis=1)
    kept = (found[:, 0] > 0) & (returned[:, 0] > 0) & (missed < _LARGEST_RETURN**2) & inside
    return Tracks(
        start=start[kept, 0].astype(np.float64),
        end=end[kept, 0].astype(np.float64),
        covariance=_covariance(tensor[kept], missed[kept]),
    )


def _best_points(picture: Picture) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """Columns and rows [N] of the best point of every textured block, and their structure tensors [N, 3]."""
    import cv2

    grey = picture.astype(np.float32)
    across, along = (cv2.Sobel(grey, cv2.CV_32F, dx, 1 - dx, ksize=3) / 8 for dx in (1, 0))
    xx, xy, yy = (
        cv2.boxFilter(product, -1, (_WINDOW, _WINDOW), normalize=False)
        for product in (across * across, across * along, along * along)
    )
    # The smaller eigenvalue says how well a corner can be followed; among edges the clearer one is taken.
    score = (xx + yy) / 2 - np.sqrt(np.square(xx - yy) / 4 + xy * xy) + 0.05 * (xx + yy)
    rows, columns = (size // _BLOCK for size in grey.shape)
    blocks = score[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    best = blocks.transpose(0, 2, 1, 3).reshape(rows * columns, -1).argmax(axis=1)
    block_row, block_column = np.divmod(np.arange(rows * columns), columns)
    y, x = block_row * _BLOCK + best // _BLOCK, block_column * _BLOCK + best % _BLOCK
    textured = (xx + yy)[y, x] > _LEAST_TEXTURE
    x, y = x[textured], y[textured]
    return x, y, np.stack([xx[y, x], xy[y, x], yy[y, x]], axis=1).astype(np.float64)


def _covariance(tensor: Array, missed: Array) -> Array:
    xx, xy, yy = (tensor / _GREY_NOISE**2 + (_FLAT, 0, _FLAT)).T
    determinant = xx * yy - xy * xy
    floor = _FLOOR + 0.3 * missed
    return np.stack([yy / determinant + floor, -xy / determinant, xx / determinant + floor], axis=1)
