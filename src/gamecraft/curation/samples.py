"""A few frames of a clip."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gamecraft.contact_sheet import sample_frames
from gamecraft.curation.recording import read_grid
from gamecraft.errors import InputError

__all__ = ["sample_clip"]


def sample_clip(video: Path, fps: float, first: int, frames: int, count: int, width: int) -> NDArray[np.uint8]:
    """``count`` frames spread over the clip of ``frames`` frames that begins at grid frame ``first``.

    Returns:
        uint8 [count, H, W, 3], at most ``width`` pixels wide.

    Raises:
        InputError: the recording is not as long as it was.
    """
    wanted = {first + place for place in sample_frames(frames, count)}
    found = list(read_grid(video, fps, first=first, count=frames, width=width, wanted=wanted))
    if len(found) < len(wanted):
        raise InputError(f"{video} ends before frame {first + frames}, which was there before")
    return np.stack(found)
