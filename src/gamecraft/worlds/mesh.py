"""Flat-shaded triangle meshes as numpy arrays: convex primitives, transforms and baked light.

Scene axes: x right, y forward, z up, metres (the renderer maps OpenCV poses onto them). Every primitive is convex and
returns triangles ``float64 [n, 3, 3]``; `Mesh.add` orients them outward, so builders never think about winding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Light", "Mesh", "blob", "box", "frustum", "gable", "move", "quad"]

Array = NDArray[np.float64]

_BOX = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
_BOX_FACES = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))


def _triangles(corners: Array, faces: tuple[tuple[int, ...], ...]) -> Array:
    """Fan each polygon of `faces` (indices into corners [n, 3]) into triangles [m, 3, 3]."""
    return np.array([corners[[f[0], f[i], f[i + 1]]] for f in faces for i in range(1, len(f) - 1)])


def box(width: float, depth: float, height: float) -> Array:
    """A box standing on the origin: [12, 3, 3]."""
    return _triangles(_BOX * (width, depth, height), _BOX_FACES)


def gable(width: float, depth: float, height: float) -> Array:
    """A triangular roof prism whose ridge runs along y, standing on z = 0: [8, 3, 3]."""
    w, d = width / 2, depth / 2
    corners = np.array([[-w, -d, 0], [w, -d, 0], [0, -d, height], [-w, d, 0], [w, d, 0], [0, d, height]])
    return _triangles(corners, ((0, 1, 2), (3, 4, 5), (0, 2, 5, 3), (1, 2, 5, 4), (0, 1, 4, 3)))


def frustum(bottom: float, top: float, height: float, sides: int = 6) -> Array:
    """A cone (top 0), cylinder or tapered column with `sides` faces on z = 0."""
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides)], -1)
    low, high = ring * bottom, ring * top + (0, 0, height)
    following = np.roll(np.arange(sides), -1)
    tris = [np.stack([low, low[following], high], 1)]
    if top > 0:
        tris += [np.stack([low[following], high[following], high], 1)]
        tris += [np.stack([high, high[following], np.broadcast_to([0.0, 0.0, height], high.shape)], 1)]
    return np.concatenate(tris)


def blob(radius: float, rng: np.random.Generator, jitter: float = 0.15) -> Array:
    """A jittered icosahedron centred on the origin (crowns, rocks, clouds): [20, 3, 3]."""
    g = (1 + 5**0.5) / 2
    corners = np.array([[s * a, t * b, 0] for a, b in ((1, g),) for s in (-1, 1) for t in (-1, 1)], float)
    corners = np.concatenate([corners, np.roll(corners, 1, 1), np.roll(corners, 2, 1)])
    corners /= np.linalg.norm(corners[0])
    distance = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    near = (distance > 0.1) & (distance < 1.2)
    faces = [
        (i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[i, k]
    ]
    corners = corners * radius * (1 + jitter * rng.uniform(-1, 1, (12, 1)))
    solid: Array = corners[np.array(faces)]
    return solid


def quad(width: float, depth: float) -> Array:
    """A horizontal rectangle at z = 0 facing up: [2, 3, 3]."""
    w, d = width / 2, depth / 2
    corners = np.array([[-w, -d, 0.0], [w, -d, 0.0], [w, d, 0.0], [-w, d, 0.0]])
    return _triangles(corners, ((0, 1, 2, 3),))


def move(tris: Array, x: float = 0.0, y: float = 0.0, z: float = 0.0, *, yaw: float = 0.0, tilt: float = 0.0) -> Array:
    """Rotate by `tilt` radians about y, then by `yaw` about z, then translate."""
    if tilt:
        c, s = np.cos(tilt), np.sin(tilt)
        tris = tris @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
    if yaw:
        c, s = np.cos(yaw), np.sin(yaw)
        tris = tris @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T
    return np.asarray(tris + np.array([x, y, z]))


@dataclass(frozen=True, kw_only=True)
class Light:
    """Sun and sky light baked into face colours. Colours are linear factors in 0..1, `direction` points to the sun."""

    direction: tuple[float, float, float]
    sun: tuple[float, float, float]
    ambient: tuple[float, float, float]

    def shade(self, normals: Array, colours: Array) -> Array:
        """Colours [n, 3] of faces with unit normals [n, 3] under this light, in 0..1."""
        sun = np.asarray(self.direction) / np.linalg.norm(self.direction)
        facing = np.clip(normals @ sun, 0, 1)[:, None]
        # Faces that look down get less of the sky: the cheapest stand-in for ambient occlusion.
        sky = 0.8 + 0.2 * normals[:, 2:]
        shaded: Array = np.clip(colours * (np.asarray(self.ambient) * sky + np.asarray(self.sun) * facing), 0, 1)
        return shaded


@dataclass
class Mesh:
    """Triangles with one colour each, collected by the builders and baked once."""

    tris: list[Array] = field(default_factory=list)
    colours: list[Array] = field(default_factory=list)
    glow: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, tris: Array, colour: Array, *, glow: bool = False) -> None:
        """Add one convex part [n, 3, 3] of colour [3] or [n, 3] in 0..1; glowing parts ignore the light."""
        normal = np.cross(tris[:, 1] - tris[:, 0], tris[:, 2] - tris[:, 0])
        outward = tris.mean(1) - tris.mean((0, 1))
        if np.ptp(tris[..., 2]) < 1e-9:  # a flat sheet has no inside: it faces up
            outward = np.broadcast_to([0.0, 0.0, 1.0], outward.shape)
        flip = (normal * outward).sum(-1) < 0
        tris = np.where(flip[:, None, None], tris[:, ::-1], tris)
        self.tris.append(tris)
        self.colours.append(np.broadcast_to(colour, (len(tris), 3)))
        self.glow.append(np.full(len(tris), glow))

    def bake(self, light: Light) -> tuple[Array, Array]:
        """Vertices [n, 3, 3] and shaded face colours [n, 3] of everything added."""
        tris, colours = np.concatenate(self.tris), np.concatenate(self.colours)
        normals = np.cross(tris[:, 1] - tris[:, 0], tris[:, 2] - tris[:, 0])
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12
        shaded = np.where(np.concatenate(self.glow)[:, None], colours, light.shade(normals, colours))
        return tris, shaded
