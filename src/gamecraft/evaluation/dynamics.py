"""How much a video moves, and how smoothly: metrics of frames uint8 [F, H, W, 3] that need no truth."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError

__all__ = ["dynamic_average", "temporal_consistency"]

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

_REFERENCE_WIDTH = 1000


def dynamic_average(frames: Frames) -> float:
    """Mean length of the optical flow from each frame to the next, in thousandths of the picture's width.

    After the dynamic degree of VBench (Huang et al. 2024, arXiv:2311.17982), which thresholds it, and the "Dynamic
    Average" of the GameCraft paper, which does not; both use the flow of RAFT, here it is DIS (Kroeger et al. 2016).
    Relative to the width, so that a video has the same value at any size.

    Raises:
        InputError: fewer than two frames.
    """
    lengths = [np.hypot(flow[..., 0], flow[..., 1]).mean() for flow, _, _ in _flows(frames)]
    return float(np.mean(lengths) * _REFERENCE_WIDTH / frames.shape[2])


def temporal_consistency(frames: Frames) -> float:
    """How well each frame is the one before, moved: 1 is perfectly.

    1 - mean absolute difference between each frame and the next one brought back along the flow, over 255. Flicker and
    things that melt lower it; motion as such does not. What leaves the picture is not counted. After the warping error
    of Lai et al. 2018 (arXiv:1808.00449). The temporal consistency of VBench compares CLIP features instead: the two are
    not comparable.

    Raises:
        InputError: fewer than two frames.
    """
    import cv2

    errors = []
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for flow, first, second in _flows(frames):
        to_x, to_y = x + flow[..., 0], y + flow[..., 1]
        inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
        back = cv2.remap(second, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = np.abs(back.astype(np.float64) - first).mean(axis=2)
        errors.append(difference[inside].mean() if inside.any() else 255.0)
    return float(1 - np.mean(errors) / 255)


def _flows(frames: Frames) -> Iterator[tuple[npt.NDArray[np.float32], Frames, Frames]]:
    """Dense flow [H, W, 2] (right, down, pixels) from each frame to the next, with the two frames."""
    import cv2

    if frames.ndim != 4 or len(frames) < 2:
        raise InputError(f"the flow between frames takes at least two of them, received shape {list(frames.shape)}")
    finder: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # The preset stops at half the resolution, where the flow of small pictures comes out up to a third too short.
    finder.setFinestScale(0)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    for (first, second), (grey_first, grey_second) in zip(pairwise(frames), pairwise(grey), strict=True):
        yield finder.calc(grey_first, grey_second, None), first, second
