"""Pluecker rays: every pixel's line of sight as (moment, direction), the form in which a model gets a camera."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import relative_to

__all__ = ["Intrinsics", "chunk_rays", "pixel_directions", "plucker_rays", "rays_along"]


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


def pixel_directions(intrinsics: Intrinsics, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Unit directions [3, H, W] float32 through the pixel centres, in the camera's own axes."""
    x = (torch.arange(width, device=device) + 0.5) / width
    y = (torch.arange(height, device=device) + 0.5) / height
    x, y = (x - intrinsics.cx) / intrinsics.fx, (y - intrinsics.cy) / intrinsics.fy
    grid = torch.stack(
        [x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(x).expand(height, width)]
    )
    return torch.nn.functional.normalize(grid, dim=0)


def rays_along(poses: Tensor, directions: Tensor) -> Tensor:
    """Rays of cameras at ``poses`` along given directions in the camera's axes.

    The moment o x (R g) is linear in g, so the six numbers of a pixel are one 6x3 matrix per frame times its direction.
    It is summed elementwise rather than as a matrix product: the bits then depend neither on how many frames are asked
    for nor on autocast and tensor-core settings.

    Args:
        poses: [..., F, 4, 4] camera-to-world.
        directions: [..., F, 3, H, W] unit vectors, or anything that broadcasts to it, such as [3, H, W].

    Returns:
        [..., F, 6, H, W] float32 on the device of the directions: moment, direction.
    """
    rotation, origin = poses[..., :3, :3], poses[..., :3, 3:]
    moment = torch.linalg.cross(origin.expand_as(rotation), rotation, dim=-2)
    matrix = torch.cat([moment, rotation], dim=-2).float().to(directions.device)
    matrix = matrix[..., None, None]  # [..., F, 6, 3, 1, 1]
    x, y, z = directions.float()[..., None, :, :, :].unbind(dim=-3)
    return (matrix[..., 0, :, :] * x).addcmul_(matrix[..., 1, :, :], y).addcmul_(matrix[..., 2, :, :], z)
