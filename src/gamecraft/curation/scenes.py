"""Second stage: where one scene ends and another begins.

The rule is that of PySceneDetect's adaptive detector on PySceneDetect's content value (a cut changes much more than the
frames around it do), and a check that a fast turn does not pass for a cut: what moved can be explained by optical flow.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.measure import read_measures
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["Scenes", "adaptive_cuts"]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Splits a recording at its cuts.

    Attributes:
        ratio: a cut's content value is at least so many times the mean of the frames around it.
        content: and at least this large (0 to 255).
        window: frames on each side that count as around.
        residual: and at least this share of what could change is not explained by optical flow; 0 for the rule of
            PySceneDetect alone.
        min_frames: frames from one cut to the next.
    """

    name: ClassVar[str] = "scenes"
    version: ClassVar[int] = 1

    ratio: float = 3.0
    content: float = 8.0
    window: int = 2
    residual: float = 0.25
    min_frames: int = 3

    def process(self, unit: Unit, store: Store) -> Result:
        """``scenes``: [first frame, frame after the last] of each."""
        columns = read_measures(store, unit.inputs["segments"])
        cuts = adaptive_cuts(
            columns["content"],
            ratio=self.ratio,
            content=self.content,
            window=self.window,
            min_frames=self.min_frames,
            confirmed=columns["residual"] >= self.residual,
        )
        frames = len(columns["content"])
        ends = [0, *cuts, frames]
        scenes = [[a, b] for a, b in pairwise(ends) if b > a]
        return {"frames": frames, "cuts": cuts, "scenes": scenes}


def adaptive_cuts(
    values: NDArray[np.float64],
    *,
    ratio: float,
    content: float,
    window: int,
    min_frames: int,
    confirmed: NDArray[np.bool_] | None = None,
) -> list[int]:
    """Frames that begin a new scene.

    Args:
        values: [F] content value of each frame against the one before.
        confirmed: [F] frames that may be cuts; all if None.
    """
    cuts: list[int] = []
    for frame in range(window, len(values) - window):
        around = (values[frame - window : frame + window + 1].sum() - values[frame]) / (2 * window)
        enough = values[frame] >= max(content, ratio * around)
        if enough and (confirmed is None or confirmed[frame]) and frame - (cuts[-1] if cuts else 0) >= min_frames:
            cuts.append(frame)
    return cuts
