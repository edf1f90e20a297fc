"""Videos that were made elsewhere, as a model: so any other system can be scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gamecraft.actions import Action
from gamecraft.errors import InputError
from gamecraft.evaluation.models import Start
from gamecraft.video import read_video

__all__ = ["VideoFolder"]


@dataclass(kw_only=True)
class VideoFolder:
    """Answers with the frames of ``CASE.mp4`` in a folder, such as ``start003-w_left.mp4``, whatever the actions.

    A video holds the frames after the start, one per action, without the history. Frames of another size are resized
    (which counts as the system's own blur); frames beyond the rollout are ignored.
    ``gamecraft evaluate --export FOLDER`` writes the starts and the actions to make such videos from.
    """

    folder: Path
    chunk_frames: int = 9
    height: int = 96
    width: int = 160
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder of videos")

    @property
    def identity(self) -> str:
        """Changes when a video does."""
        files = sorted(self.folder.glob("*.mp4"))
        return repr([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])

    def start(self, start: Start) -> None:
        """Read the video of `start`; InputError if there is none."""
        self._path = self.folder / f"{start.name}.mp4"
        self._frames = read_video(self._path)[0]
        self._next = 0

    def step(self, actions: Sequence[Action]) -> npt.NDArray[np.uint8]:
        """The next frames; InputError if there are too few."""
        first, self._next = self._next, self._next + len(actions)
        if self._next > len(self._frames):
            raise InputError(f"{self._path} has {len(self._frames)} frames, the rollout needs at least {self._next}")
        frames = self._frames[first : self._next]
        if frames.shape[1:3] == (self.height, self.width):
            return frames
        import cv2

        return np.stack(
            [cv2.resize(frame, (self.width, self.height), interpolation=cv2.INTER_AREA) for frame in frames]
        )
