"""What a picture shows from other cameras: its pixels moved by depth and pose. Pure functions on tensors.

Depth is the z coordinate in the camera (metres), given as its inverse, so that the sky is 0. Cameras are pinholes with
the lens of ``gamecraft.intrinsics``; poses are OpenCV camera-to-world.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gamecraft.intrinsics import Intrinsics

__all__ = ["combine_squares", "fetch", "reproject", "transfer"]

_FARTHEST = 1e-4
"""Smallest inverse depth that is told apart from infinity, 1/m."""
_NEAREST = 0.05
"""Points closer to the camera's plane than this, in metres, are behind it."""
_AGREEMENT = 0.1
"""Relative difference of inverse depths up to which two pixels show the same point."""
_SLACK = 0.02
"""The same for far points, 1/m."""
_STRETCH = 2.0
"""How many times wider what comes nearer may get: beyond that, its pixels no longer touch and dots appear."""
_SUPPORT = 0.6
"""Share of a pixel and its neighbours that must show something; a straight edge leaves two thirds."""
_MARGIN = 2
"""Pixels around a picture that take what falls outside."""


def transfer(inverse_depth: Tensor, moves: Tensor, intrinsics: Intrinsics) -> tuple[Tensor, Tensor]:
    """Where the pixels of a picture lie in other pictures.

    Args:
        inverse_depth: [B, 1, H, W] of the picture's pixels, 1/m.
        moves: [B, F, 4, 4] from the picture's camera to the F others, metres.
        intrinsics: the lens of all cameras.

    Returns:
        places [B, F, H, W, 2] as ``grid_sample`` counts them (x and y, -1 and 1 at the edges), and inverse depths
        [B, F, H, W] there, 0 or less for points behind the camera.
    """
    height, width = inverse_depth.shape[-2:]
    device = inverse_depth.device
    x = ((torch.arange(width, device=device) + 0.5) / width - intrinsics.cx) / intrinsics.fx
    y = ((torch.arange(height, device=device) + 0.5) / height - intrinsics.cy) / intrinsics.fy
    lens = torch.tensor([
        [2 * intrinsics.fx, 0, 2 * intrinsics.cx - 1], [0, 2 * intrinsics.fy, 2 * intrinsics.cy - 1], [0, 0, 1],
    ], device=device)  # fmt: skip
    # A point at inverse depth w is (x, y, 1) / w; times w it is a direction, which also holds for the sky. Elementwise,
    # as in `gamecraft.rays`: autocast would round a matrix product.
    rows = (lens[:, :, None] * moves[..., None, :3, :].float().to(device)).sum(-2)  # [B, F, 3, 4]
    along_x, along_y, ahead, shift = (part[..., None, None] for part in rows.unbind(-1))
    w = inverse_depth[:, 0, None].float()  # [B, 1, H, W]
    u, v, z = (
        torch.addcmul((along_x[:, :, k] * x + ahead[:, :, k]) + along_y[:, :, k] * y[:, None], shift[:, :, k], w)
        for k in range(3)
    )
    near = z > _NEAREST * w.clamp_min(_FARTHEST)
    scale = torch.where(near, z, 1.0).reciprocal()
    return torch.stack([u * scale, v * scale], dim=-1), torch.where(near, w * scale, -1.0)


def fetch(pictures: Tensor, places: Tensor, mode: str = "bilinear") -> Tensor:
    """Pictures [B, C, H, W] read at places [B, F, h, w, 2] of ``transfer``: [B, F, C, h, w].

    mode: as ``grid_sample`` has it; "bicubic" keeps what is fine when pictures are moved again and again.
    """
    each = pictures[:, None].expand(-1, places.shape[1], -1, -1, -1).flatten(0, 1)  # cores share out a batch alone
    found = F.grid_sample(each, places.flatten(0, 1), mode=mode, padding_mode="border", align_corners=False)
    return found.reshape(*places.shape[:2], *found.shape[1:])


def reproject(
    picture: Tensor, inverse_depth: Tensor, moves: Tensor, intrinsics: Intrinsics
) -> tuple[Tensor, Tensor, Tensor]:
    """A picture seen from other cameras. Depths are moved there first; each new pixel then fetches its colour.

    Moving the depths forwards decides what hides what; fetching colours backwards keeps them whole where the picture
    grows.

    Args:
        picture: [B, C, H, W].
        inverse_depth, moves, intrinsics: as for ``transfer``.

    Returns:
        pictures [B, F, C, H, W], their inverse depths [B, F, 1, H, W], and where they show something, 1 or 0,
        [B, F, 1, H, W]; both are 0 elsewhere.
    """
    seen = _splat(*transfer(inverse_depth, moves, intrinsics))
    covered = seen >= 0
    depths = seen.clamp_min(0)
    batch, frames, height, width = depths.shape
    back = torch.linalg.inv(moves.double().cpu()).flatten(0, 1)[:, None]  # not every device knows float64
    places, origin_depth = transfer(depths.reshape(batch * frames, 1, height, width), back, intrinsics)
    places, origin_depth = (x.reshape(batch, frames, *x.shape[2:]) for x in (places, origin_depth))
    colours = fetch(picture.float(), places, mode="bicubic")
    known = fetch(inverse_depth.float(), places)[:, :, 0]
    inside = places.abs().amax(dim=-1) <= 1
    agrees = (known - origin_depth).abs_() <= origin_depth.abs().mul_(_AGREEMENT).add_(_SLACK)
    fine = depths <= origin_depth.mul(_STRETCH).add_(_SLACK)
    valid = _supported((covered & inside & agrees & fine).float())[:, :, None]
    return colours * valid, depths[:, :, None] * valid, valid


def _supported(valid: Tensor) -> Tensor:
    """What is valid, 1 or 0 [B, F, H, W], among mostly valid neighbours: of rough depths, single points fly about."""
    there = F.pad(torch.ones_like(valid[:1, :1]), (1, 1, 1, 1))
    neighbours, possible = (combine_squares(x, 3, torch.add) for x in (F.pad(valid, (1, 1, 1, 1)), there))
    return valid * (neighbours >= _SUPPORT * possible)


def _splat(places: Tensor, depths: Tensor) -> Tensor:
    """The nearest inverse depth that falls on each pixel: places and depths of ``transfer`` -> [B, F, H, W].

    Every point covers the four pixels around it, and gaps of one pixel are closed; -1 where nothing falls.
    """
    batch, frames, height, width = depths.shape
    # two more rows and columns on each side take what falls outside
    columns = width + 2 * _MARGIN
    left = places[..., 0].mul(width / 2).add_(width / 2 - 0.5 + _MARGIN).clamp_(0, columns - 1)
    top = places[..., 1].mul(height / 2).add_(height / 2 - 0.5 + _MARGIN).clamp_(0, height + 2 * _MARGIN - 1)
    index = top.long().mul_(columns).add_(left.long()).flatten(2)
    corners = depths.new_full((batch, frames, (height + 2 * _MARGIN) * columns), -1.0)
    corners.scatter_reduce_(2, index, depths.flatten(2), "amax")
    upper_left = corners.reshape(batch, frames, -1, columns)
    # a point's four pixels are those at and after its upper left one
    spread = combine_squares(upper_left, 2, torch.maximum)
    first = _MARGIN - 1
    seen = spread[..., first : first + height, first : first + width]
    around = combine_squares(F.pad(seen, (1, 1, 1, 1), value=-1.0), 3, torch.maximum)
    return torch.where(seen < 0, around, seen)


def combine_squares(x: Tensor, side: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """All squares of `side` x `side` in x [..., H, W], each combined to one number: pooling with stride 1.

    PyTorch's own pooling takes 20 times as long on a CPU.
    """
    for dim in (-2, -1):
        shifted = [x.narrow(dim, start, x.shape[dim] - side + 1) for start in range(side)]
        x = functools.reduce(combine, shifted)
    return x
