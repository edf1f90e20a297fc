"""Fourth stage: clips that are too dark, burnt out, blurred or without motion, judged by the measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gamecraft.curation.measure import read_measures
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["Picture"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Judges clips by brightness, exposure, sharpness and change.

    Attributes:
        luma: least mean brightness, 0 to 1,
        contrast: of pictures with less than this standard deviation of it: a menu over a dark room is no dark room.
        glare: largest mean brightness.
        bright: largest share of burnt-out pixels.
        sharpness: least share of the contrast within 7 pixels that one pixel's step has, at the sharpest edges.
        change: a frame that changes less than this (mean brightness, 0 to 1) stands still;
        still: the largest share of frames that stand still.
    """

    name: ClassVar[str] = "picture"
    version: ClassVar[int] = 2

    luma: float = 0.035
    contrast: float = 0.04
    glare: float = 0.78
    bright: float = 0.25
    sharpness: float = 0.36
    change: float = 0.0015
    still: float = 0.8

    def process(self, unit: Unit, store: Store) -> Result:
        """``clips``: for each clip its scores and, if it is rejected, why."""
        columns = read_measures(store, unit.inputs["segments"])
        frames = unit.inputs["frames"]
        clips = []
        for first in unit.inputs["clips"]:
            # The first frame's change is against a frame that is not in the clip.
            scores = self._scores({name: columns[name][first + 1 : first + frames] for name in columns})
            clips.append({"scores": scores, "rejected": self._judge(scores)})
        return {"clips": clips}

    def _scores(self, clip: Mapping[str, Any]) -> dict[str, float]:
        return {
            "luma": round(float(np.median(clip["luma"])), 4),
            "contrast": round(float(np.median(clip["contrast"])), 4),
            "bright": round(float(np.median(clip["bright"])), 4),
            "sharpness": round(float(np.median(clip["sharpness"])), 4),
            "still": round(float((clip["change"] < self.change).mean()), 4),
            "flow": round(float(np.mean(clip["flow"])), 5),
        }

    def _judge(self, scores: Mapping[str, float]) -> list[str] | None:
        if scores["luma"] < self.luma and scores["contrast"] < self.contrast:
            return ["dark", f"brightness {scores['luma']:.3f}, less than {self.luma:g}"]
        if scores["luma"] > self.glare:
            return ["overexposed", f"brightness {scores['luma']:.2f}, more than {self.glare:g}"]
        if scores["bright"] > self.bright:
            return ["overexposed", f"{scores['bright']:.0%} burnt out, more than {self.bright:.0%}"]
        if scores["still"] > self.still:
            return ["static", f"{scores['still']:.0%} of the frames stand still, more than {self.still:.0%}"]
        if scores["sharpness"] < self.sharpness:
            return ["blurred", f"sharpness {scores['sharpness']:.3f}, less than {self.sharpness:g}"]
        return None
