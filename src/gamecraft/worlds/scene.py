"""What a low-poly world consists of: a baked static mesh, moving parts, obstacles, sky and fog."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gamecraft.worlds.mesh import Array, Light, Mesh

__all__ = ["Atmosphere", "Mover", "Scene"]

RGB = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Atmosphere:
    """Light, sky gradient (zenith to horizon) and linear fog, which always has the horizon's colour."""

    light: Light
    zenith: RGB
    horizon: RGB
    fog_start: float  # metres
    fog_end: float  # metres
    stars: bool = False


@dataclass(frozen=True, kw_only=True)
class Mover:
    """A part that moves as a function of time only, so that a frame index determines the picture.

    It spins by `spin` radians/frame about its own `axis` ("y" or "z"), drifts by `drift` metres/frame (x, y) within a
    square of half-size `wrap` metres, and bobs vertically by `bob` metres with a period of `period` frames.
    """

    mesh: Mesh
    position: tuple[float, float, float]
    spin: float = 0.0
    axis: str = "z"
    yaw: float = 0.0
    drift: tuple[float, float] = (0.0, 0.0)
    wrap: float = 90.0
    bob: float = 0.0
    period: float = 60.0

    def at(self, frame: float) -> tuple[Array, float]:
        """Position [3] and spin angle (radians) at a frame index."""
        x, y, z = self.position
        span = 2 * self.wrap
        x = (x + self.drift[0] * frame + self.wrap) % span - self.wrap
        y = (y + self.drift[1] * frame + self.wrap) % span - self.wrap
        z += self.bob * float(np.sin(2 * np.pi * frame / self.period + self.position[0]))
        return np.array([x, y, z]), self.spin * frame


@dataclass
class Scene:
    """A world before rendering. `obstacles` are circles (x, y, radius) in metres that a walker cannot enter."""

    seed: int
    theme: str
    description: dict[str, str]
    atmosphere: Atmosphere
    static: Mesh = field(default_factory=Mesh)
    movers: list[Mover] = field(default_factory=list)
    obstacles: list[tuple[float, float, float]] = field(default_factory=list)

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether a circle of `radius` metres at (x, y) touches no obstacle."""
        return all((x - ox) ** 2 + (y - oy) ** 2 >= (radius + r) ** 2 for ox, oy, r in self.obstacles)
