"""What can be evaluated: anything that starts from true frames and answers actions with frames.

A model of another project needs `chunk_frames`, `height`, `width`, `start` and `step`; `Freeze` shows how little that
is. If it has an autoencoder, a method `reconstruct(frames) -> frames` adds the ceiling to its report; a
property `identity` (a string) keeps the results of different versions apart. A model that answers with what was made
before, whatever it is asked (a folder of videos), has `fixed = True`: rows that ask it something else are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gamecraft.actions import Action, motion
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState, integrate
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.renderer import Renderer

__all__ = ["Forgetful", "Freeze", "GroundTruth", "Idle", "Start", "Warp", "WorldModel", "world_of"]

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where a rollout begins: true history and what is needed to render its continuation.

    Attributes:
        name: of the case, as in file names.
        frames: uint8 [F, H, W, 3], one chunk of history (or one picture, see ``Forgetful``). poses: [F, 4, 4]
            camera-to-world of these frames.
        prompt: the world's caption. seed: for the model's noise. state: the camera at the last frame.
        theme: of the world, or another word for it. world_seed: of a rendered world, None if it is none.
        frame: the rendered world's clock at the last frame.
    """

    name: str
    frames: Frames
    poses: npt.NDArray[np.float64]
    prompt: str
    seed: int
    state: CameraState
    theme: str = ""
    world_seed: int | None = None
    frame: int = 0


class WorldModel(Protocol):
    """A playable model: `start`, then `step` as often as wanted."""

    @property
    def chunk_frames(self) -> int:
        """Actions per `step`, and frames it returns."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    def start(self, start: Start) -> None:
        """Forget everything and begin after the last frame of `start`."""

    def step(self, actions: Sequence[Action]) -> Frames:
        """The frames uint8 [F, H, W, 3] after each of the F actions."""


@lru_cache(maxsize=1)
def world_of(seed: int, theme: str, height: int, width: int) -> LowPolyWorld:
    """A world, kept until another one is asked for; whoever gets it resets it first."""
    return LowPolyWorld(seed, theme, renderer=_renderer(height, width))


@cache
def _renderer(height: int, width: int) -> Renderer:
    # One per process and size: the engine draws all there are each time.
    return Renderer(height, width)


@dataclass(kw_only=True)
class GroundTruth:
    """The world itself, rendered: what a perfect model would show."""

    chunk_frames: int = 9
    height: int = 96
    width: int = 160

    def start(self, start: Start) -> None:
        """Go to the world and place of `start`; InputError if it is not in a rendered world."""
        if start.world_seed is None:
            raise InputError(
                "there is no rendered world to play on in; the model truth needs a suite of rendered worlds"
            )
        self._world = world_of(start.world_seed, start.theme, self.height, self.width)
        self._world.reset(start.state, start.frame)

    def step(self, actions: Sequence[Action]) -> Frames:
        """Render the frames after the actions."""
        return np.stack([self._world.step(action) for action in actions])


@dataclass(kw_only=True)
class Freeze:
    """Repeats the last true frame: what a model must beat to be worth anything."""

    chunk_frames: int = 9
    height: int = 96
    width: int = 160

    def start(self, start: Start) -> None:
        """Remember the last frame of `start`."""
        self._frame = start.frames[-1]

    def step(self, actions: Sequence[Action]) -> Frames:
        """The remembered frame, once per action."""
        return np.repeat(self._frame[None], len(actions), axis=0)


@dataclass(kw_only=True)
class Warp:
    """Turns the last true frame with the camera, as if all of it were infinitely far; does not walk.

    The exact answer to a pure turn as far as it has been seen; beyond the edge the picture goes on with its colours.
    """

    chunk_frames: int = 9
    height: int = 96
    width: int = 160

    def start(self, start: Start) -> None:
        """Remember the last frame of `start` and where it looks."""
        self._frame, self._first, self._state = start.frames[-1], start.state, start.state

    def step(self, actions: Sequence[Action]) -> Frames:
        """The remembered frame, turned as the actions ask for."""
        import cv2

        poses, self._state = integrate(motion(actions), self._state)
        height, width = self._frame.shape[:2]
        lens = Intrinsics()
        focal = np.diag([lens.fx * width, lens.fy * height, 1.0])
        focal[:2, 2] = lens.cx * width - 0.5, lens.cy * height - 0.5
        back = self._first.pose()[:3, :3].T
        shown = []
        for pose in poses:
            source = focal @ back @ pose[:3, :3] @ np.linalg.inv(focal)  # where a pixel of the new view was seen
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            shown.append(
                cv2.warpPerspective(self._frame, source, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            )
        return np.stack(shown)


class Idle:
    """A model that is told to stand still whatever the action: shows what it gains by listening."""

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self.chunk_frames, self.height, self.width = model.chunk_frames, model.height, model.width

    def start(self, start: Start) -> None:
        """Start the wrapped model."""
        self._model.start(start)

    def step(self, actions: Sequence[Action]) -> Frames:
        """The wrapped model's frames for no key held."""
        return self._model.step([Action()] * len(actions))


class Forgetful:
    """A model without history: before every chunk it starts anew from the last picture it made, and nothing else."""

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self.chunk_frames, self.height, self.width = model.chunk_frames, model.height, model.width

    def start(self, start: Start) -> None:
        """Remember where `start` ends."""
        self._at = replace(start, frames=start.frames[-1:], poses=start.poses[-1:])

    def step(self, actions: Sequence[Action]) -> Frames:
        """The wrapped model's first chunk after the last picture; every chunk has noise of its own."""
        self._model.start(self._at)
        frames = self._model.step(actions)
        poses, state = integrate(motion(actions), self._at.state)
        self._at = replace(
            self._at,
            frames=frames[-1:],
            poses=poses[-1:],
            state=state,
            seed=self._at.seed + 1,
            frame=self._at.frame + len(actions),
        )
        return frames
