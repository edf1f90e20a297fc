"""Fifth stage: black bars around the picture and things drawn over it that stay where they are (a HUD).

A clip is written through the dataset's lens, a window within the recorded picture. Bars and HUD outside of that window
are cropped away with the rest; where they reach into it the clip is rejected, since the window cannot give way.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.lens import Box, lens_window
from gamecraft.curation.samples import sample_clip
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.intrinsics import Intrinsics

__all__ = ["Borders", "content_box", "hud_cells"]

_WIDTH, _SAMPLES = 320, 8
_CELL = 16  # pixels
_BLACK = 24


@dataclass(frozen=True, kw_only=True)
class Borders:
    """Judges what surrounds and covers the picture.

    Attributes:
        hud: largest share of the window that may be covered.
        bar: thinnest black bar, as a share of the picture's height or width.
        slack: how far the window may reach over the picture's edge, as a share of the picture.
    """

    name: ClassVar[str] = "borders"
    version: ClassVar[int] = 1

    hud: float = 0.015
    bar: float = 0.02
    slack: float = 0.01

    def process(self, unit: Unit, store: Store) -> Result:
        """Scores, the ``window`` [left, top, right, bottom] as shares of the picture, and why it is rejected."""
        clip = unit.inputs
        frames = sample_clip(Path(unit.place), clip["fps"], clip["first"], clip["frames"], _SAMPLES, _WIDTH)
        box = content_box(frames, self.bar)
        lens = Intrinsics(**clip["lens"])
        window = lens_window(_in_picture(lens, box) if clip["lens_assumed"] else lens, Intrinsics(**clip["target"]))
        cells = hud_cells(frames)
        covered = None if cells is None else round(_share_within(cells, frames.shape[1:3], window), 4)
        barred = any(box[i] > window[i] + self.slack for i in (0, 1)) or any(
            box[i] < window[i] - self.slack for i in (2, 3)
        )
        rejected: list[str] | None = None
        if min(window[:2]) < -self.slack or max(window[2:]) > 1 + self.slack:
            rejected = ["narrow lens", "the recording shows less than the dataset's lens; choose a longer one (lens)"]
        elif barred:
            rejected = ["letterbox", f"black bars; the picture is {[round(edge, 3) for edge in box]}"]
        elif covered is not None and covered > self.hud:
            rejected = ["hud", f"{covered:.0%} of the window covered, more than {self.hud:.0%}"]
        return {
            "scores": {"covered": covered, "picture": [round(edge, 4) for edge in box]},
            "window": [min(max(edge, 0.0), 1.0) for edge in window],
            "rejected": rejected,
        }


def content_box(frames: NDArray[np.uint8], least: float) -> Box:
    """The picture without black bars; bars come in pairs of equal width.

    Args:
        frames: uint8 [K, H, W, 3].
        least: thinnest bar, as a share.

    Returns:
        left, top, right, bottom as shares.
    """
    brightest = frames.max(axis=(0, 3))
    edges: list[Any] = []
    for axis in (1, 0):
        lit = np.flatnonzero(brightest.max(axis=1 - axis) > _BLACK)
        size = brightest.shape[axis]
        if not lit.size:
            edges.append((0.0, 1.0))
            continue
        before, after = lit[0] / size, (size - 1 - lit[-1]) / size
        bars = min(before, after) >= least and abs(before - after) < 0.02
        edges.append((float(before), float(1 - after)) if bars else (0.0, 1.0))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def hud_cells(frames: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Cells of 16 pixels that hold something fixed: edges that are there in all frames and do not change.

    Only cells that connect to the picture's border count: there a moving camera moves everything, while the middle
    may stand still when walking straight on.

    Args:
        frames: uint8 [K, H, W, 3], far apart in time.

    Returns:
        [rows, columns], or None if the picture moves too little to tell.
    """
    import cv2

    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]).astype(np.float32)
    spread = grey.std(axis=0)
    if np.median(spread) < 5:
        return None
    mean = grey.mean(axis=0)
    gradient = np.hypot(cv2.Sobel(mean, cv2.CV_32F, 1, 0), cv2.Sobel(mean, cv2.CV_32F, 0, 1))
    fixed = ((gradient > 40) & (spread < 5)).astype(np.float32)
    height, width = fixed.shape
    share = cv2.resize(fixed, (max(1, width // _CELL), max(1, height // _CELL)), interpolation=cv2.INTER_AREA)
    count, labels = cv2.connectedComponents((share > 0.08).astype(np.uint8), connectivity=8)
    outside = np.ones_like(labels, dtype=bool)
    outside[1:-1, 1:-1] = False
    reaching = [label for label in range(1, count) if (outside & (labels == label)).any()]
    return np.isin(labels, reaching)


def _share_within(cells: NDArray[np.bool_], size: tuple[int, ...], window: Box) -> float:
    """The share of the window's cells that are set."""
    rows, columns = cells.shape
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    inside = ((y > window[1]) & (y < window[3]))[:, None] & ((x > window[0]) & (x < window[2]))[None]
    return float((cells & inside).sum() / max(1, inside.sum()))


def _in_picture(lens: Intrinsics, box: Box) -> Intrinsics:
    """A lens that is said of the picture within ``box``, said of the whole frame."""
    width, height = box[2] - box[0], box[3] - box[1]
    return Intrinsics(
        fx=lens.fx * width, fy=lens.fy * height, cx=box[0] + lens.cx * width, cy=box[1] + lens.cy * height
    )
