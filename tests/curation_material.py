"""Small recordings to curate."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action
from gamecraft.curation.raw import About, RawWriter
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState

FPS = 24
LENS = Intrinsics(fx=0.5, fy=0.5 * 160 / 96)


def texture(seed: int, height: int = 200, width: int = 900) -> NDArray[np.uint8]:
    """A picture with detail at several scales in a tint of its own, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cell in (8, 20, 60):
        coarse = rng.uniform(0, 255, (height // cell + 1, width // cell + 1, 3))
        total += np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width]
    return (total / 3 * rng.permutation([1.0, 0.7, 0.3])).astype(np.uint8)


def pan(seed: int, frames: int, step: int = 3) -> NDArray[np.uint8]:
    """A window of 96x160 that slides over a texture, uint8 [frames, 96, 160, 3]."""
    picture = texture(seed, width=200 + step * frames)
    return np.stack([picture[40:136, 20 + step * i : 180 + step * i] for i in range(frames)])


def write_raw(folder: Path, name: str, frames: NDArray[np.uint8]) -> Path:
    """A recording of these frames by a camera that walks straight on."""
    about = About(game="Test", place=name, intrinsics=LENS)
    with RawWriter(folder, name, about, fps=FPS) as writer:
        for number, frame in enumerate(frames):
            pose = CameraState(position=(0.0, 0.0, 0.1 * number)).pose()
            writer.add(frame, pose, Action(keys=frozenset({"w"}), move_speed=0.1) if number else Action())
    return writer.video
