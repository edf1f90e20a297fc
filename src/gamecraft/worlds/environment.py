"""A playable low-poly world: `reset()` and `step(action)`, with the same actions and camera as the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action, motion
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState, advance
from gamecraft.worlds.builder import PLAY_RADIUS, build_scene
from gamecraft.worlds.renderer import Renderer

__all__ = ["EYE_HEIGHT", "LowPolyWorld"]

EYE_HEIGHT = 1.6
"""Metres above the ground."""

_BODY_RADIUS = 0.45
_HIGHEST, _LOWEST = 7.0, 0.7


class LowPolyWorld:
    """Ground truth for any action script: the frame and the exact pose after every action.

    Attributes:
        state: the walker's camera in world coordinates (y down, so standing eyes are at y = -EYE_HEIGHT).
        frame: index of the next picture; moving things are a function of it.
        blocked: whether the last step was cut short by an obstacle or the edge of the world.
    """

    def __init__(
        self,
        seed: int,
        theme: str | None = None,
        *,
        renderer: Renderer | None = None,
        intrinsics: Intrinsics | None = None,
    ) -> None:
        self.scene = build_scene(seed, theme)
        self.renderer = renderer or Renderer(intrinsics=intrinsics)
        self.state = CameraState(position=(0.0, -EYE_HEIGHT, 0.0))
        self.frame = 0
        self.blocked = False

    def reset(self, start: CameraState | None = None, frame: int = 0) -> NDArray[np.uint8]:
        """Put the walker at `start` (the world's middle if None) and return the first picture [H, W, 3]."""
        self.renderer.show(self.scene)
        self.state = start or CameraState(position=(0.0, -EYE_HEIGHT, 0.0))
        self.frame = frame
        self.blocked = False
        return self.renderer.render(self.state.pose(), self.frame)

    def step(self, action: Action) -> NDArray[np.uint8]:
        """Apply one frame's action and return the picture [H, W, 3] after it."""
        return self.move(motion([action])[0])

    def move(self, row: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Apply one row of motion [5] (see `gamecraft.actions.motion`) and return the picture after it."""
        wanted = advance(self.state, row)
        self.state = self._collide(wanted)
        self.blocked = self.state != wanted
        self.frame += 1
        return self.renderer.render(self.state.pose(), self.frame)

    def spawn(self, rng: np.random.Generator, *, clear_ahead: float = 0.0) -> CameraState:
        """A random free place to stand. With `clear_ahead`, nothing is nearer than that many metres to the walker."""
        for _ in range(500):
            distance, angle = (PLAY_RADIUS - 4) * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
            x, z = float(distance * np.cos(angle)), float(distance * np.sin(angle))
            if self.scene.free(x, z, _BODY_RADIUS + max(0.6, clear_ahead)):
                return CameraState(position=(x, -EYE_HEIGHT, z), yaw=float(rng.uniform(-np.pi, np.pi)))
        return CameraState(position=(0.0, -EYE_HEIGHT, 0.0))

    def _collide(self, state: CameraState) -> CameraState:
        """Push the walker out of obstacles (it slides along them) and keep it inside the world."""
        x, y, z = state.position
        for _ in range(3):
            for ox, oz, radius in self.scene.obstacles:
                away = np.hypot(x - ox, z - oz)
                least = radius + _BODY_RADIUS
                if away < least:
                    # Exactly in the middle there is no way out that is nearer than another: take +x.
                    dx, dz = ((x - ox) / away, (z - oz) / away) if away > 1e-9 else (1.0, 0.0)
                    x, z = ox + dx * least, oz + dz * least
        beyond = np.hypot(x, z) / PLAY_RADIUS
        if beyond > 1:
            x, z = x / beyond, z / beyond
        y = min(max(y, -_HIGHEST), -_LOWEST)
        if (x, y, z) == state.position:
            return state
        return replace(state, position=(float(x), float(y), float(z)))
