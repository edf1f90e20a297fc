"""Third stage: scenes become clips of one length, and the camera's sudden jerks are left out.

A jerk is where the mean optical flow changes by much from one frame to the next, as in fast aiming: what comes before
and what comes after belong to different actions, and the frames between are a smear.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.measure import read_measures
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.errors import InputError

__all__ = ["Split", "jerks"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cuts scenes into clips.

    Attributes:
        frames: of a clip.
        jerk: change of the mean optical flow from frame to frame that ends an action, as a share of the width.
        margin: frames left out on both sides of a cut or a jerk.
    """

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 1

    frames: int = 144
    jerk: float = 0.1
    margin: int = 1

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise InputError(f"split.frames is {self.frames}, expected at least 2")

    def process(self, unit: Unit, store: Store) -> Result:
        """``clips``: first frame of each; ``left_over``: frames in no clip; ``actions``: [first, after the last]."""
        columns = read_measures(store, unit.inputs["segments"])
        flow = np.stack([columns["flow_x"], columns["flow_y"]], axis=1)
        actions: list[list[int]] = []
        clips: list[int] = []
        for first, end in unit.inputs["scenes"]:
            # The first frame of a scene has its flow from another scene.
            breaks = [first, *(first + 1 + jerks(flow[first + 1 : end], self.jerk)).tolist(), end]
            for start, stop in pairwise(breaks):
                inside = (start + (self.margin if start > 0 else 0), stop - (self.margin if stop < len(flow) else 0))
                if inside[1] > inside[0]:
                    actions.append(list(inside))
                clips += range(inside[0], inside[1] - self.frames + 1, self.frames)
        return {"clips": clips, "actions": actions, "left_over": len(flow) - self.frames * len(clips)}


def jerks(flow: NDArray[np.float64], limit: float) -> NDArray[np.int64]:
    """Frames at which the mean flow [F, 2] differs by more than ``limit`` from the frame before."""
    change = np.linalg.norm(np.diff(flow, axis=0), axis=1)
    return np.flatnonzero(change > limit) + 1
