"""How much a video moves, and how smoothly: metrics of frames uint8 [F, H, W, 3] that need no truth."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError

__all__ = ["dynamic_average", "optical_flows", "temporal_consistency"]

Frames = npt.NDArray[np.uint8]
Flows = npt.NDArray[np.float32]

_REFERENCE_WIDTH = 1000


def optical_flows(frames: Frames) -> Flows:
    """Dense flow [F - 1, H, W, 2] (right, down, pixels) from each frame to the next.

    DIS (Kroeger, Timofte, Dai, Van Gool 2016, arXiv:1603.03590), as in OpenCV, at full resolution.

    Raises:
        InputError: fewer than two frames.
    """
    import cv2

    if frames.ndim != 4 or len(frames) < 2:
        raise InputError(f"the flow between frames takes at least two of them, received shape {list(frames.shape)}")
    finder: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    # The preset stops at a quarter of the resolution, where the flow of small pictures comes out a third too short.
    finder.setFinestScale(0)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.stack([finder.calc(first, second, None) for first, second in pairwise(grey)])


def dynamic_average(flows: Flows) -> float:
    """Mean length of flows [N, H, W, 2] between neighbouring frames, in thousandths of the picture's width.

    After the dynamic degree of VBench (Huang et al. 2024, arXiv:2311.17982), which thresholds it, and the "Dynamic
    Average" of the GameCraft paper, which does not; both use the flow of RAFT. Relative to the width, so that a video
    has the same value at any size.
    """
    return float(np.hypot(flows[..., 0], flows[..., 1]).mean() * _REFERENCE_WIDTH / flows.shape[2])


def temporal_consistency(frames: Frames, flows: Flows) -> float:
    """How well each frame of [F, H, W, 3] is the one before, moved along the flows [F - 1, H, W, 2]: 1 is perfectly.

    1 - mean absolute difference between each frame and the next one brought back along the flow, over 255. Flicker and
    things that melt lower it; motion as such does not. What leaves the picture is not counted. After the warping error
    of Lai et al. 2018 (arXiv:1808.00449). The temporal consistency of VBench compares CLIP features instead: the two
    are not comparable.
    """
    import cv2

    errors = []
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for (first, second), flow in zip(pairwise(frames), flows, strict=True):
        to_x, to_y = x + flow[..., 0], y + flow[..., 1]
        inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
        back = cv2.remap(second, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = np.abs(back.astype(np.float64) - first).mean(axis=2)
        errors.append(difference[inside].mean() if inside.any() else 255.0)
    return float(1 - np.mean(errors) / 255)
