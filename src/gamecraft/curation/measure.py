"""First stage: one pass over a recording that measures every frame. All splitting and most filters read only this.

Lengths are shares of the picture's width, brightness is 0 to 1, and "change" is against the frame before.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.extras import load_plugin, require
from gamecraft.curation.phash import difference_hash
from gamecraft.curation.recording import read_grid
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["COLUMNS", "Measure", "dis_flow", "read_measures"]

COLUMNS = (
    "content",  # PySceneDetect's content value: mean change of hue, saturation and value, 0 to 255
    "residual",  # share of the contrast that neither optical flow nor another light explains
    "change",  # mean change of brightness
    "luma",  # mean brightness
    "contrast",  # standard deviation of brightness
    "dark",  # share of pixels below 16/255
    "bright",  # share of pixels above 250/255
    "sharpness",  # share of the contrast within 7 pixels that one pixel's step has, at the sharpest edges
    "flow_x",  # mean optical flow to the right
    "flow_y",  # mean optical flow downwards
    "flow",  # mean length of the optical flow
)

_WIDTH, _SMALL = 320, 160
_DIGITS = 5
_NOISE = 4.0  # brightness of 255
_FLAT = 16  # contrast of 255 without an edge
_SHARPEST = 95  # percentile of the edges


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measures frames of a piece of a recording.

    Attributes:
        fps: frames per second of the grid on which everything is counted, and of the finished clips.
        flow: ``dis``, or a plug-in ``module:function`` from two grey frames uint8 [H, W] to flow float32 [H, W, 2].
    """

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 3

    fps: int = 24
    flow: str = "dis"

    def process(self, unit: Unit, store: Store) -> Result:
        """Columns of numbers, one per frame, and ``hash``, a perceptual hash of 16 hexadecimal digits per frame."""
        first, count = unit.inputs["first"], unit.inputs["count"]
        overlap = min(first, 1)  # the first frame's change is against the frame before the piece
        wanted = None if count is None else count + overlap
        frames = read_grid(Path(unit.place), self.fps, first=first - overlap, count=wanted, width=_WIDTH)
        flow = dis_flow if self.flow == "dis" else load_plugin(self.flow)
        rows, hashes = [], []
        meter = _Meter(flow)
        for row, digest in itertools.islice(map(meter.measure, frames), overlap, None):
            rows.append(row)
            hashes.append(digest)
        columns = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS)).T
        return {"frames": len(rows), "hash": hashes} | {
            name: [round(value, _DIGITS) for value in column]
            for name, column in zip(COLUMNS, columns.tolist(), strict=True)
        }


class _Meter:
    """Measures one frame after the other."""

    def __init__(self, flow: Any) -> None:
        detect = require("scenedetect", "finding scenes")
        statistics = require("scenedetect.stats_manager", "finding scenes").StatsManager()
        self._detector = detect.ContentDetector()
        self._detector.stats_manager = statistics
        self._statistics, self._timecode = statistics, detect.FrameTimecode
        self._flow = flow
        self._before: NDArray[np.uint8] | None = None
        self._number = 0

    def measure(self, frame: NDArray[np.uint8]) -> tuple[list[float], str]:
        """Values of ``COLUMNS`` and the hash of a frame uint8 [H, W, 3]."""
        import cv2

        height = max(2, round(_SMALL * frame.shape[0] / frame.shape[1]))
        small = cv2.resize(frame, (_SMALL, height), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        content = self._content(small)
        before = grey if self._before is None else self._before
        flow = self._flow(before, grey) / _SMALL
        change = float(cv2.absdiff(grey, before).mean()) / 255
        row = [
            content,
            _residual(before, grey, flow * _SMALL),
            change,
            float(grey.mean()) / 255,
            float(grey.std()) / 255,
            float((grey < 16).mean()),
            float((grey > 250).mean()),
            _sharpness(frame),
            float(flow[..., 0].mean()),
            float(flow[..., 1].mean()),
            float(np.hypot(flow[..., 0], flow[..., 1]).mean()),
        ]
        self._before = grey
        return row, difference_hash(grey)

    def _content(self, picture: NDArray[np.uint8]) -> float:
        time = self._timecode(self._number, 24.0)
        self._detector.process_frame(time, picture[..., ::-1])
        self._number += 1
        value = self._statistics.get_metrics(time, ["content_val"])[0]
        return float(value or 0.0)


def dis_flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Dense inverse search optical flow in pixels, [H, W, 2], of grey pictures uint8 [H, W]."""
    import cv2

    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return np.asarray(method.calc(before, after, None), dtype=np.float32)


def read_measures(store: Store, segments: list[str]) -> dict[str, Any]:
    """The columns of a recording's pieces one after the other: arrays [F], and ``hash`` as a list."""
    pieces = [store.read(Measure.name, segment) or {} for segment in segments]
    columns: dict[str, Any] = {
        name: np.concatenate([np.asarray(piece[name], dtype=np.float64) for piece in pieces]) for name in COLUMNS
    }
    columns["hash"] = [digest for piece in pieces for digest in piece["hash"]]
    return columns


def _residual(before: NDArray[np.uint8], after: NDArray[np.uint8], flow: NDArray[np.float32]) -> float:
    """0: the frame is the one before, moved, perhaps in another light. Nearly 1: it has nothing to do with it.

    What matters is correlation, the same looking forth and back: a flash that tints the whole picture leaves it, and a
    cut to a dark room loses it.
    """
    import cv2

    height, width = after.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    # Flow leads from the frame before to this one; looking back with its negative is near enough for a mean.
    moved = cv2.remap(before, x - flow[..., 0], y - flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    one, other = moved.astype(np.float32) - moved.mean(), after.astype(np.float32) - after.mean()
    spread = float(one.std() * other.std())
    correlation = max(0.0, float((one * other).mean()) / spread) if spread else 0.0
    contrast = float(max(before.std(), after.std()))
    # Without contrast there is nothing but noise, which nothing explains.
    return float(np.sqrt(max(0.0, 1 - correlation**2))) * contrast / (contrast + _NOISE)


def _sharpness(frame: NDArray[np.uint8]) -> float:
    """The share of the contrast within 7 pixels that one pixel's step has, at the sharpest edges; 0 without any edge.

    A wall before the player's nose has few edges, and they are as sharp as any: so it is not their number that counts.
    """
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    around = np.ones((7, 7), np.uint8)
    contrast = cv2.subtract(cv2.dilate(grey, around), cv2.erode(grey, around))[1:, 1:]
    step = cv2.max(cv2.absdiff(grey[1:, 1:], grey[1:, :-1]), cv2.absdiff(grey[1:, 1:], grey[:-1, 1:]))
    edges = contrast > _FLAT
    if not edges.any():
        return 0.0
    return float(np.percentile(step[edges] / contrast[edges].astype(np.float32), _SHARPEST))
