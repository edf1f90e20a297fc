"""A clip as a recording for the rerun viewer: the pictures at the camera's place in the world."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.extras import require
from gamecraft.files import write_atomically
from gamecraft.intrinsics import Intrinsics

__all__ = ["write_rerun"]


def write_rerun(
    path: Path, frames: NDArray[np.uint8], poses: NDArray[np.float64], lens: Intrinsics, fps: float
) -> None:
    """Write a ``.rrd`` file.

    Args:
        frames: uint8 [F, H, W, 3].
        poses: [F, 4, 4] camera-to-world, metres.

    Raises:
        GameCraftError: rerun-sdk is not installed.
    """
    rerun = require("rerun", "a recording for the rerun viewer", "rerun-sdk==0.41.0")
    height, width = frames.shape[1:3]
    with write_atomically(path) as temporary:
        stream = rerun.RecordingStream("gamecraft")
        stream.save(temporary)
        # OpenCV's axes, as everywhere in the project.
        stream.log("world", rerun.ViewCoordinates.RDF, static=True)
        stream.log("world/path", rerun.LineStrips3D([poses[:, :3, 3]]), static=True)
        camera = rerun.Pinhole(
            focal_length=[lens.fx * width, lens.fy * height],
            principal_point=[lens.cx * width, lens.cy * height],
            width=width,
            height=height,
        )
        stream.log("world/camera", camera, static=True)
        for number, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
            stream.set_time("time", duration=number / fps)
            stream.log("world/camera", rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
            stream.log("world/camera", rerun.Image(frame).compress())
        stream.disconnect()
