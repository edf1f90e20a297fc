"""Pluecker rays: every pixel's line of sight as (moment, direction), the form in which a model gets a camera."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import relative_to

__all__ = ["CameraRays", "chunk_rays", "pixel_directions", "plucker_rays", "rays_along"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraRays:
    """Rays that are not spelled out pixel by pixel: six numbers per pixel that are linear in its direction.

    The moment o x (R g) is linear in g, so the rays of a frame are one 6x3 matrix times the directions, which are those
    of the lens and the same for all frames. 33 frames of 704x1216 pixels spelled out take 0.7 GB.

    Attributes:
        matrix: [..., F, 6, 3] float32.
        directions: [3, H, W] float32, or anything that broadcasts to [..., F, 3, H, W].
    """

    matrix: Tensor
    directions: Tensor

    @classmethod
    def along(cls, poses: Tensor, directions: Tensor) -> "CameraRays":
        """Rays of cameras at ``poses`` [..., F, 4, 4] along unit directions in their axes."""
        rotation, origin = poses[..., :3, :3], poses[..., :3, 3:]
        moment = torch.linalg.cross(origin.expand_as(rotation), rotation, dim=-2)
        matrix = torch.cat([moment, rotation], dim=-2).float().to(directions.device)
        return cls(matrix=matrix, directions=directions.float())

    @property
    def shape(self) -> torch.Size:
        """What they would have if they were spelled out."""
        return torch.Size([*self.matrix.shape[:-1], *self.directions.shape[-2:]])

    @property
    def device(self) -> torch.device:
        """Where both parts are."""
        return self.directions.device

    def at(self, rows: slice, columns: slice) -> "CameraRays":
        """Those of some pixels."""
        return CameraRays(matrix=self.matrix, directions=self.directions[..., rows, columns])

    def spelled_out(self) -> Tensor:
        """[..., F, 6, H, W].

        Summed elementwise rather than as a matrix product: the bits then depend neither on how many frames are asked
        for nor on autocast and tensor-core settings.
        """
        matrix = self.matrix[..., None, None]  # [..., F, 6, 3, 1, 1]
        x, y, z = self.directions[..., None, :, :, :].unbind(dim=-3)
        return (matrix[..., 0, :, :] * x).addcmul_(matrix[..., 1, :, :], y).addcmul_(matrix[..., 2, :, :], z)


def plucker_rays(poses: Tensor, intrinsics: Intrinsics, height: int, width: int) -> Tensor:
    """Rays through the pixel centres of a picture.

    Args:
        poses: [..., F, 4, 4] camera-to-world, metres.
        intrinsics: the lens, normalised by the picture's size.
        height, width: pixels.

    Returns:
        [..., F, 6, H, W] float32: moment o x d in metres (channels 0-2), unit direction d (channels 3-5).
    """
    return rays_along(poses, pixel_directions(intrinsics, height, width, poses.device))


def chunk_rays(
    poses: npt.NDArray[np.float64],
    reference_pose: npt.NDArray[np.float64],
    intrinsics: Intrinsics,
    height: int,
    width: int,
    *,
    device: torch.device | None = None,
) -> Tensor:
    """Rays of a chunk as seen from a reference frame, normally the last frame of the history.

    The poses are made relative in float64, so a camera far from the origin loses no precision.

    Args:
        poses: [F, 4, 4] camera-to-world in the world.
        reference_pose: [4, 4] camera-to-world in the world.
        intrinsics, height, width: as for ``plucker_rays``.
        device: where the rays are computed; the CPU if None.

    Returns:
        [F, 6, H, W] float32 on ``device``.
    """
    relative = torch.from_numpy(relative_to(poses, reference_pose)).float()
    return plucker_rays(relative.to(device), intrinsics, height, width)


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # what is kept from there could not be trained with
def pixel_directions(intrinsics: Intrinsics, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Unit directions [3, H, W] float32 through the pixel centres, in the camera's own axes; not to be written to."""
    x = (torch.arange(width, device=device) + 0.5) / width
    y = (torch.arange(height, device=device) + 0.5) / height
    x, y = (x - intrinsics.cx) / intrinsics.fx, (y - intrinsics.cy) / intrinsics.fy
    grid = torch.stack(
        [x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(x).expand(height, width)]
    )
    return torch.nn.functional.normalize(grid, dim=0)


def rays_along(poses: Tensor, directions: Tensor) -> Tensor:
    """Rays of cameras at ``poses`` along given directions in the camera's axes.

    Args:
        poses: [..., F, 4, 4] camera-to-world.
        directions: [..., F, 3, H, W] unit vectors, or anything that broadcasts to it, such as [3, H, W].

    Returns:
        [..., F, 6, H, W] float32 on the device of the directions: moment, direction.
    """
    return CameraRays.along(poses, directions).spelled_out()
