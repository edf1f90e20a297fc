"""Second stage: where one scene ends and another begins.

A cut changes much more than the frames around it do, in PySceneDetect's content value, and leaves much more that
neither optical flow nor another light explains. PySceneDetect's adaptive detector compares with the mean of the frames
around; here it is the largest of them, because a camera that moves fast and stops at once stands out of the mean too.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.measure import read_measures
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["Scenes", "peaks"]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Splits a recording at its cuts.

    Attributes:
        ratio: a cut's content value is at least so many times the largest of the frames around it.
        content: and at least this large (0 to 255).
        residual: and at least this share of the contrast is explained neither by optical flow nor by another light.
        residual_ratio: and that is at least so many times the largest of the frames around it.
        window: frames on each side that count as around.
        min_frames: frames from one cut to the next.
    """

    name: ClassVar[str] = "scenes"
    version: ClassVar[int] = 2

    ratio: float = 1.2
    content: float = 25.0
    residual: float = 0.65
    residual_ratio: float = 1.1
    window: int = 2
    min_frames: int = 3

    def process(self, unit: Unit, store: Store) -> Result:
        """``scenes``: [first frame, frame after the last] of each."""
        columns = read_measures(store, unit.inputs["segments"])
        content, residual = columns["content"], columns["residual"]
        found = peaks(content, ratio=self.ratio, least=self.content, window=self.window)
        unexplained = peaks(residual, ratio=self.residual_ratio, least=self.residual, window=self.window)
        cuts: list[int] = []
        for frame in sorted(set(found) & set(unexplained)):
            if frame - (cuts[-1] if cuts else 0) >= self.min_frames:
                cuts.append(frame)
        ends = [0, *cuts, len(content)]
        scenes = [[a, b] for a, b in pairwise(ends) if b > a]
        return {"frames": len(content), "cuts": cuts, "scenes": scenes}


def peaks(values: NDArray[np.float64], *, ratio: float, least: float, window: int) -> list[int]:
    """Frames whose value [F] is at least ``least`` and ``ratio`` times each of the ``window`` frames on both sides."""
    found: list[int] = []
    for frame in range(window, len(values) - window):
        around = np.delete(values[frame - window : frame + window + 1], window)
        if values[frame] >= max(least, ratio * float(around.max())):
            found.append(frame)
    return found
