"""Sixth stage: menus, loading screens and dialogues, told by the text on them (rapidocr, whose models it ships)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.extras import require
from gamecraft.curation.samples import sample_clip
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["TextScreens", "read_text"]

_WIDTH = 640


@dataclass(frozen=True, kw_only=True)
class TextScreens:
    """Rejects clips in which much can be read.

    Attributes:
        samples: frames of a clip that are read; 0 to read none, which is by far the quickest.
        letters: most letters and digits in one frame.
        confidence: of a line of text, to be counted, 0 to 1.
    """

    name: ClassVar[str] = "text"
    version: ClassVar[int] = 2

    samples: int = 2
    letters: int = 14
    confidence: float = 0.8

    def process(self, unit: Unit, store: Store) -> Result:
        """Scores, and why the clip is rejected."""
        if not self.samples:
            return {"scores": {}, "rejected": None}
        clip = unit.inputs
        # The first and the last frame of the sample are the clip's own: text often fades in and out, so read within.
        frames = sample_clip(Path(unit.place), clip["fps"], clip["first"], clip["frames"], self.samples + 2, _WIDTH)[
            1:-1
        ]
        left, top, right, bottom = clip["window"]
        height, width = frames.shape[1:3]
        seen = frames[:, int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
        texts = [read_text(frame, self.confidence) for frame in seen]
        longest = max(texts, key=len)
        rejected = None
        if len(longest) > self.letters:
            rejected = ["text", f"{len(longest)} letters ({longest[:40]}), more than {self.letters}"]
        return {"scores": {"letters": len(longest)}, "rejected": rejected}


def read_text(frame: NDArray[np.uint8], confidence: float) -> str:
    """The letters and digits of a picture uint8 [H, W, 3], line after line."""
    result = _engine()(frame[..., ::-1], use_cls=False)
    lines = zip(result.txts or (), result.scores or (), strict=True)
    # One or two letters are as often a pattern of bricks.
    found = ["".join(filter(str.isalnum, text)) for text, score in lines if score >= confidence]
    return "".join(text for text in found if len(text) > 2)


@functools.cache
def _engine() -> Any:
    import logging

    engine = require("rapidocr", "finding text")
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    threads = {"EngineConfig.onnxruntime.intra_op_num_threads": 1, "EngineConfig.onnxruntime.inter_op_num_threads": 1}
    # By default it looks for text in pictures enlarged to 736 pixels of height, which takes ten times as long.
    size = {"Det.limit_type": "max", "Det.limit_side_len": _WIDTH}
    return engine.RapidOCR(params={"Global.log_level": "error", **threads, **size})
