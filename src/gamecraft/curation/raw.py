"""Raw recordings as files: the video, what is known about it, and the truth kept apart.

FOLDER/NAME.mp4                     the video
FOLDER/NAME.json                    game, place, lens; all of it optional
FOLDER/NAME.inputs.csv              the input log, if there is one (see ``input_log``)
FOLDER/truth/NAME.trajectory.json   the camera of every frame, where a renderer knows it (see ``trajectory_io``)
FOLDER/truth/NAME.events.json       what happens in which frames, where a script made it happen

Curation reads the first three. It reads the truth only if it is told to take the poses from there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action
from gamecraft.curation.input_log import format_inputs
from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import Trajectory
from gamecraft.trajectory_io import format_trajectory
from gamecraft.video import VideoWriter

__all__ = ["About", "RawWriter", "inputs_path", "read_about", "truth_path"]

_MAX_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known about a recording.

    Attributes:
        game, place: names for captions, such as ``Freedoom`` and ``freedoom1/e1m1``.
        description: a sentence about the place, if there is one.
        intrinsics: the lens; None if nobody knows.
    """

    game: str = ""
    place: str = ""
    description: str = ""
    intrinsics: Intrinsics | None = None


class RawWriter:
    """Writes one recording frame by frame; the video gets its name last, so a whole video has all its companions."""

    def __init__(self, folder: Path, name: str, about: About, *, fps: int) -> None:
        self.video = folder / f"{name}.mp4"
        self._about, self._fps = about, fps
        self._writer = VideoWriter(self.video, fps)
        self._poses: list[NDArray[np.float64]] = []
        self._actions: list[Action] = []
        self._events: list[dict[str, Any]] = []

    def add(self, frame: NDArray[np.uint8], pose: NDArray[np.float64], action: Action) -> None:
        """Append a frame uint8 [H, W, 3], its camera-to-world pose [4, 4] and the action that led to it."""
        self._writer.add(frame[None])
        self._poses.append(pose)
        self._actions.append(action)

    def event(self, kind: str, *, frames: int, **details: Any) -> None:
        """Note something true of the next ``frames`` frames."""
        first = len(self._poses)
        self._events.append({"kind": kind, "first": first, "last": first + frames - 1, **details})

    def close(self) -> None:
        """Write the companions, then the video."""
        if not self._poses:
            return
        lens = self._about.intrinsics
        trajectory = Trajectory(
            poses=np.stack(self._poses),
            times=np.arange(len(self._poses)) / self._fps,
            intrinsics=np.tile([lens.fx, lens.fy, lens.cx, lens.cy], (len(self._poses), 1)) if lens else np.empty(0),
        )
        _write(truth_path(self.video, "trajectory"), format_trajectory(trajectory, ".json"))
        _write(truth_path(self.video, "events"), json.dumps(self._events, indent=1) + "\n")
        _write(inputs_path(self.video), format_inputs(self._actions, self._fps))
        _write(self.video.with_suffix(".json"), json.dumps(asdict(self._about), indent=1) + "\n")
        self._writer.close()

    def abort(self) -> None:
        """Leave no half-written video."""
        self._writer.abort()

    def __enter__(self) -> RawWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def read_about(video: Path) -> About:
    """What the file beside a video says; nothing if there is none.

    Raises:
        InputError: the file is not valid.
    """
    path = video.with_suffix(".json")
    if not path.is_file():
        return About()
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path} is larger than {_MAX_BYTES} bytes")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        lens = data.get("intrinsics")
        words = {name: str(data.get(name, ""))[:1000] for name in ("game", "place", "description")}
        return About(**words, intrinsics=Intrinsics(**{k: float(v) for k, v in lens.items()}) if lens else None)
    except (InputError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} does not describe a recording: {error}") from None


def inputs_path(video: Path) -> Path:
    """Where the input log of a video is."""
    return video.with_suffix(".inputs.csv")


def truth_path(video: Path, kind: str) -> Path:
    """Where the ``trajectory`` or the ``events`` of a video are."""
    return video.parent / "truth" / f"{video.stem}.{kind}.json"


def _write(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
