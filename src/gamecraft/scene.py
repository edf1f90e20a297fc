"""What past frames show from the cameras of the next chunk: the memory that reaches further back than the history.

A view is a picture with its depths and its camera. From the views of a play, the frames of the next chunk can be drawn
as far as they have been seen before; the model gets them, encoded, in the condition channels of the chunk, with the
share that was seen in the mask channel. Both are zero in the published model, which has no such memory. What is decoded
can then be refined with what was drawn (`gamecraft.models.refiner`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gamecraft.intrinsics import Intrinsics
from gamecraft.reprojection import reproject
from gamecraft.trajectory import invert

__all__ = ["Drawing", "Scene", "View", "choose_views", "draw_views", "fill_gaps"]

_LOOK_EVERY = 4
"""Views are compared by every so manieth pixel."""
_PLACE = 0.5
"""Metres within which cameras count as standing at one place."""
_MUCH = 0.25
"""Share of the picture that the most trusted view shows at least."""
_WORTH = 0.01
"""Least share of the picture that a view must add to be drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A frame that is remembered.

    Attributes:
        picture: [B, 3, H, W] in [-1, 1].
        inverse_depth: [B, 1, H, W], 1/m.
        pose: camera-to-world [..., 4, 4]; leading dimensions are free, so that the items of a batch may have their own.
    """

    picture: Tensor
    inverse_depth: Tensor
    pose: NDArray[np.float64]


class Drawing(NamedTuple):
    """What the views show of a chunk, as pictures."""

    video: Tensor
    """[B, 3, F, H, W] in [-1, 1], gaps filled."""
    covered: Tensor
    """[B, 1, F, H, W], 1 where it was seen and else 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What the views show of a chunk, encoded.

    Attributes:
        latents: [B, C, t, h, w], VAE latents * scaling_factor of the drawn frames.
        coverage: [B, 1, t, h, w], the share of each position that the views show.
    """

    latents: Tensor
    coverage: Tensor

    def to(self, device: torch.device) -> "Scene":
        """The same on a device."""
        return Scene(latents=self.latents.to(device), coverage=self.coverage.to(device))

    def beside_nothing(self) -> "Scene":
        """Twice as many items, the first half without a scene."""
        return Scene(
            latents=torch.cat([torch.zeros_like(self.latents), self.latents]),
            coverage=torch.cat([torch.zeros_like(self.coverage), self.coverage]),
        )

    def masked(self, keep: Tensor) -> "Scene":
        """The scene without the items [B] that are not to be kept."""
        factor = keep.to(self.latents)[:, None, None, None, None]
        return Scene(latents=self.latents * factor, coverage=self.coverage * factor)


def choose_views(
    views: Sequence[View], poses: NDArray[np.float64], intrinsics: Intrinsics, count: int
) -> tuple[View, ...]:
    """The views from which to draw a chunk, the one to trust most first.

    Depths are never exact, so views from nearby are trusted more; among those from one place the older ones, which have
    been generated from fewer others. The most trusted one and the newest are chosen, then each time the one that adds
    most.

    Args:
        views: oldest first, at least one.
        poses: cameras of the chunk [F, 4, 4] or [B, F, 4, 4]; the middle and the last one are looked at.
        count: how many to choose at most.
    """
    middle = poses[..., poses.shape[-3] // 2, :3, 3]
    distances = [float(np.linalg.norm(view.pose[..., :3, 3] - middle, axis=-1).mean()) for view in views]
    ranking = sorted(range(len(views)), key=lambda index: (round(distances[index] / _PLACE), index))
    if len(views) <= count:
        return tuple(views[index] for index in ranking)
    seen = _seen(views, poses[..., [poses.shape[-3] // 2, -1], :, :], intrinsics)
    shares = seen.flatten(1).float().mean(dim=1)
    newest = len(views) - 1
    trusted = next((index for index in ranking if shares[index] > _MUCH), newest)
    chosen = {trusted, newest} if count > 1 else {newest}
    known = seen[list(chosen)].any(dim=0)
    while len(chosen) < count:
        added = (seen & ~known).flatten(1).float().mean(dim=1)
        best = int(added.argmax())
        if added[best] < _WORTH:
            break
        chosen.add(best)
        known |= seen[best]
    return tuple(views[index] for index in ranking if index in chosen)


def draw_views(views: Sequence[View], poses: NDArray[np.float64], intrinsics: Intrinsics) -> Drawing:
    """Frames as the views show them; where several do, as the first one does.

    Args:
        poses: [F, 4, 4] or [B, F, 4, 4] camera-to-world in the world of the views.
    """
    video: Tensor | None = None
    covered: Tensor | None = None
    for view in views:
        found, _, valid = reproject(view.picture, view.inverse_depth, _moves(view, poses), intrinsics)
        if video is None or covered is None:
            video, covered = found, valid
        else:
            video = torch.where(covered > 0, video, found)
            covered = torch.maximum(covered, valid)
    assert video is not None
    assert covered is not None
    filled = fill_gaps(video.flatten(0, 1), covered.flatten(0, 1)).reshape(video.shape)
    return Drawing(filled.transpose(1, 2), covered.transpose(1, 2))


def fill_gaps(pictures: Tensor, covered: Tensor) -> Tensor:
    """Pictures [N, C, H, W] whose gaps (covered [N, 1, H, W] is 0) smoothly continue what is around them."""
    levels = [(pictures * covered, covered)]
    while max(levels[-1][0].shape[-2:]) > 1:
        colours, weights = (F.avg_pool2d(part, 2, ceil_mode=True) for part in levels[-1])
        levels.append((colours, weights))
    colours, weights = levels.pop()
    filled = colours / weights.clamp_min(1e-6)
    while levels:
        colours, weights = levels.pop()
        planes = filled.flatten(0, 1)[None]  # of one picture, whose channels CPUs take together
        coarse = F.interpolate(planes, size=colours.shape[-2:], mode="bilinear", align_corners=False).view_as(colours)
        filled = torch.where(weights > 0, colours / weights.clamp_min(1e-6), coarse)
    return filled


def _moves(view: View, poses: NDArray[np.float64]) -> Tensor:
    """[B, F, 4, 4] from the view's camera to others."""
    moves = torch.from_numpy(np.asarray(invert(poses) @ view.pose[..., None, :, :]))
    return moves.expand(len(view.picture), *moves.shape[-3:])


def _seen(views: Sequence[View], poses: NDArray[np.float64], intrinsics: Intrinsics) -> Tensor:
    """What each view shows of pictures at poses, at a fraction of the size: bool [views, B, F, h, w]."""
    every = slice(_LOOK_EVERY // 2, None, _LOOK_EVERY)
    coarse = torch.cat([view.inverse_depth[..., every, every] for view in views])
    moves = torch.cat([_moves(view, poses) for view in views])
    _, _, valid = reproject(coarse, coarse, moves, intrinsics)
    return (valid[:, :, 0] > 0).reshape(len(views), -1, *valid.shape[1:2], *valid.shape[3:])
