"""What can be evaluated: anything that starts from true frames and answers actions with frames.

A model of another project needs `chunk_frames`, `height`, `width`, `start` and `step`; `Freeze` shows how little that
is. If it has an autoencoder, a method `reconstruct(frames) -> frames` adds the ceiling to its report.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gamecraft.actions import Action
from gamecraft.trajectory import CameraState
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.renderer import Renderer

__all__ = ["Freeze", "GroundTruth", "Idle", "Reconstruction", "Start", "WorldModel", "world_of"]

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where a rollout begins: true history and what is needed to render its continuation.

    Attributes:
        frames: uint8 [F, H, W, 3], one chunk of history. poses: [F, 4, 4] camera-to-world of these frames.
        prompt: the world's caption. seed: for the model's noise.
        world_seed, theme: the world. state: the camera at the last frame. frame: the world's clock at the last frame.
    """

    frames: Frames
    poses: npt.NDArray[np.float64]
    prompt: str
    seed: int
    world_seed: int
    theme: str
    state: CameraState
    frame: int


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
        """Go to the world and place of `start`."""
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


class _Wrapper:
    """Another model's sizes and start."""

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self.chunk_frames, self.height, self.width = model.chunk_frames, model.height, model.width

    def start(self, start: Start) -> None:
        """Start the wrapped model."""
        self._model.start(start)


class Idle(_Wrapper):
    """A model that is told to stand still whatever the action: shows what it gains by listening."""

    def step(self, actions: Sequence[Action]) -> Frames:
        """The wrapped model's frames for no key held."""
        return self._model.step([Action()] * len(actions))


class Reconstruction(_Wrapper):
    """The truth through a model's autoencoder: no latent model can look better."""

    def __init__(self, truth: WorldModel, reconstruct: Callable[[Frames], Frames]) -> None:
        super().__init__(truth)
        self._reconstruct = reconstruct

    def step(self, actions: Sequence[Action]) -> Frames:
        """The true frames, encoded and decoded."""
        return self._reconstruct(self._model.step(actions))
