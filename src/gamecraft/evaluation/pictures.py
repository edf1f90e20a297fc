"""Truth and model beside one another: a picture of marked frames and a video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.cases import Case
from gamecraft.files import write_atomically
from gamecraft.video import write_video

__all__ = ["marked_chunks", "save_side_by_side", "save_strip", "stack_strips"]

Frames = npt.NDArray[np.uint8]

_GAP = 4


def marked_chunks(chunks: int) -> list[int]:
    """The chunks that are reported, counted from 1: the powers of two, and the last one."""
    return sorted({1 << i for i in range(chunks.bit_length())} | {chunks})


def save_strip(path: Path, case: Case, shown: Frames) -> None:
    """PNG: the last history frame and the last frames of the marked chunks, truth (if any) above, ``shown`` below."""
    from PIL import Image

    marks = [mark - 1 for mark in marked_chunks(len(shown))]
    last = case.start.frames[-1]
    sides = [frames for frames in (case.frames, shown) if frames is not None]
    rows = [_in_line([last, *(frames[mark, -1] for mark in marks)], axis=1) for frames in sides]
    with write_atomically(path) as temporary:
        Image.fromarray(_in_line(rows, axis=0)).save(temporary, format="PNG")


def stack_strips(path: Path, strips: Sequence[Path]) -> None:
    """PNG: strips of one size, one below the other."""
    from PIL import Image

    pictures = [np.asarray(Image.open(strip).convert("RGB")) for strip in strips]
    with write_atomically(path) as temporary:
        Image.fromarray(_in_line(pictures, axis=0, gap=3 * _GAP)).save(temporary, format="PNG")


def save_side_by_side(path: Path, case: Case, shown: Frames, fps: int = 24) -> None:
    """mp4: truth (if any) on the left, ``shown`` on the right, from the first history frame on."""
    sides = [
        np.concatenate([case.start.frames, frames.reshape(-1, *frames.shape[2:])])
        for frames in (case.frames, shown)
        if frames is not None
    ]
    write_video(path, _in_line(sides, axis=2), fps)


def _in_line(parts: Sequence[Frames], axis: int, gap: int = _GAP) -> Frames:
    """Parts with white space between them."""
    shape = list(parts[0].shape)
    shape[axis] = gap
    white = np.full(shape, 255, dtype=np.uint8)
    spaced = [piece for part in parts for piece in (white, part)][1:]
    return np.concatenate(spaced, axis=axis)
