"""Frames to views, views to drawings of the next chunk and its scene: the networks around `gamecraft.scene`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.depth import DepthEstimator
from gamecraft.precision import autocasting, entering
from gamecraft.scene import Drawing, Scene, View, choose_views, draw_views

__all__ = ["SceneEncoder"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneEncoder:
    """Makes views of frames, and scenes of views.

    Attributes:
        vae: autoencoder with the interface of those of diffusers.
        depth_estimator: pictures to inverse depths.
        intrinsics: the lens.
        views: how many views a chunk is drawn from at most.
        autocast: type in which the networks compute; that of their weights if None.
    """

    vae: Any
    depth_estimator: DepthEstimator
    intrinsics: Intrinsics
    views: int
    autocast: torch.dtype | None = None

    @torch.no_grad()
    def view(self, picture: Tensor, pose: NDArray[np.float64]) -> View:
        """The view of a picture [B, 3, H, W], about [-1, 1], at a pose [..., 4, 4]."""
        picture = picture.float().clamp(-1, 1)
        with autocasting(self.autocast, picture.device):
            inverse = self.depth_estimator(entering(picture, self.depth_estimator, self.autocast))
        return View(picture=picture, inverse_depth=inverse.float(), pose=pose)

    @torch.no_grad()
    def draw(self, history: History, poses: NDArray[np.float64]) -> Drawing:
        """What the views of a history show of a chunk with poses [F, 4, 4] or [B, F, 4, 4]."""
        views = choose_views(history.views, poses, self.intrinsics, self.views)
        return draw_views(views, poses, self.intrinsics)

    @torch.no_grad()
    def scene(self, drawing: Drawing) -> Scene:
        """What was drawn of a chunk, encoded."""
        video, covered = drawing
        with autocasting(self.autocast, video.device):
            latents = self.vae.encode(entering(video, self.vae, self.autocast)).latent_dist.mode()
        group, size = self.vae.temporal_compression_ratio, self.vae.spatial_compression_ratio
        whole = torch.cat([covered[:, :, :1].expand(-1, -1, group - 1, -1, -1), covered], dim=2)
        scaled = latents.float() * self.vae.config.scaling_factor
        return Scene(latents=scaled, coverage=F.avg_pool3d(whole, (group, size, size)))
