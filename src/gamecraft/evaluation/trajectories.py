"""Camera paths of generated videos from elsewhere than the built-in motion estimator.

COLMAP, a function of one's own (such as a learned estimator) or files. Unlike the built-in estimator they need know
nothing of a walker; their paths have no metre of their own and are only used after Sim(3) alignment.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.curation.extras import load_plugin
from gamecraft.curation.sfm import estimate_path
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import Trajectory, interpolate
from gamecraft.trajectory_io import read_trajectory

__all__ = ["COLMAP", "Tracker", "open_tracker"]

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

Tracker = Callable[[str, str, Frames], Array | None]
"""Case, row and its frames uint8 [F + 1, H, W, 3] (the last true one and the rollout) to the camera-to-world poses
[F + 1, 4, 4] in a world of any orientation and scale; None if they cannot be told."""

COLMAP = "colmap"
_STRIDE = 3  # frames between key frames
_WIDTH = 640  # pixels; what the tracking of corners is made for
_REGISTERED = 0.8  # least share of key frames with a pose
_ENDINGS = (".json", ".tum", ".txt")


def open_tracker(name: str) -> tuple[str, Tracker]:
    """A tracker and its name in the names of metrics.

    Args:
        name: ``colmap``; ``MODULE:FUNCTION``, a plug-in as in curation (frames uint8 [F, H, W, 3] and a lens to poses
            [F, 4, 4] and a confidence); or a folder with files ROW/CASE.json, .tum or .txt, such as
            ``model/start000-w.tum``, of F + 1 poses (the first is that of the last true frame).

    Raises:
        GameCraftError: a missing package, plug-in or folder.
    """
    if name == COLMAP:
        from gamecraft.curation.extras import require

        library: Any = require("pycolmap", "camera paths by COLMAP")
        return f"{COLMAP} {library.__version__}", _by_colmap
    if ":" in name and not Path(name).exists():
        return name, partial(_by_plugin, name, load_plugin(name))
    folder = Path(name)
    if not any(file.suffix in _ENDINGS for file in folder.glob("*/*")):
        raise InputError(
            f"{name} is neither {COLMAP} nor MODULE:FUNCTION nor a folder of trajectories ROW/CASE.tum, .json or .txt, "
            "such as model/start000-w.tum"
        )
    return f"given: {folder.resolve().name}", partial(_from_files, folder)


def _by_colmap(case: str, row: str, frames: Frames) -> Array | None:
    import cv2

    height, width = frames.shape[1:3]
    size = (_WIDTH, round(height * _WIDTH / width))
    enlarged = [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in frames]
    path = estimate_path([np.asarray(frame, dtype=np.uint8) for frame in enlarged], Intrinsics(), _STRIDE)
    last = len(frames) - 1
    keys = len({*range(0, last + 1, _STRIDE), last})
    if path is None or len(path.frames) < _REGISTERED * keys or path.frames[0] != 0 or path.frames[-1] != last:
        return None
    known = Trajectory(poses=path.poses, times=path.frames.astype(np.float64))
    return interpolate(known, np.arange(last + 1, dtype=np.float64)).poses


def _by_plugin(name: str, estimate: Callable[..., Any], case: str, row: str, frames: Frames) -> Array:
    poses = Trajectory(poses=estimate(frames, Intrinsics())[0]).poses
    return _of_all(poses, frames, f"{name} returned")


def _from_files(folder: Path, case: str, row: str, frames: Frames) -> Array | None:
    files = [file for ending in _ENDINGS if (file := folder / row / f"{case}{ending}").is_file()]
    if not files:
        return None
    return _of_all(read_trajectory(files[0]).poses, frames, f"{files[0]} has")


def _of_all(poses: Array, frames: Frames, received: str) -> Array:
    if len(poses) != len(frames):
        raise InputError(
            f"{received} {len(poses)} poses; expected {len(frames)}: the last true frame's and one per frame after it"
        )
    return poses
