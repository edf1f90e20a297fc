"""How far away everything in a low-poly world is: rays cast into its meshes (Embree, through embreex)."""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.worlds.renderer import OPENCV_TO_SCENE
from gamecraft.worlds.scene import Scene

__all__ = ["DepthCaster"]

_FAR = 1e6
"""Metres that no world reaches: what a ray that hits nothing reports is beyond."""


class DepthCaster:
    """Depths of one world's static parts; what moves by itself is left out, as is the sky.

    Raises:
        InputError: embreex is not installed.
    """

    def __init__(self, scene: Scene) -> None:
        if importlib.util.find_spec("embreex") is None:
            raise InputError("true depths need embreex: pip install 'gamecraft[depth]'")
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        triangles, _ = scene.static.bake(scene.atmosphere.light)
        self._rays = EmbreeScene()
        self._mesh = TriangleMesh(self._rays, np.ascontiguousarray(triangles, np.float32))

    def inverse_depth(
        self, pose: NDArray[np.float64], intrinsics: Intrinsics, height: int, width: int
    ) -> NDArray[np.float32]:
        """1 / z [H, W] in 1/m through the pixel centres, from camera-to-world `pose` [4, 4]; 0 where nothing is."""
        x = ((np.arange(width) + 0.5) / width - intrinsics.cx) / intrinsics.fx
        y = ((np.arange(height) + 0.5) / height - intrinsics.cy) / intrinsics.fy
        directions = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1).reshape(-1, 3)
        # directions of depth 1, so that the distance along them is the depth
        rays = (directions @ (OPENCV_TO_SCENE @ pose[:3, :3]).T).astype(np.float32)
        origins = np.broadcast_to((OPENCV_TO_SCENE @ pose[:3, 3]).astype(np.float32), rays.shape)
        found = self._rays.run(np.ascontiguousarray(origins), rays, query="DISTANCE")
        inverse: NDArray[np.float32] = np.where(found < _FAR, 1 / np.maximum(found, 1e-3), 0).astype(np.float32)
        return inverse.reshape(height, width)
