"""The scene memory of training batches: what the frames before a chunk show of it."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gamecraft.intrinsics import Intrinsics
from gamecraft.models.depth import DepthEstimator
from gamecraft.scene import View
from gamecraft.scene_encoder import SceneEncoder
from gamecraft.training.chunk_batches import ChunkBatch

__all__ = ["BatchScenes"]

_VIEWS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchScenes:
    """Draws the scenes of batches, from pictures as a play would have them: decoded from latents."""

    encoder: SceneEncoder

    @classmethod
    def load(
        cls,
        folder: str,
        autoencoder: Any,
        intrinsics: Intrinsics,
        device: torch.device,
        autocast: torch.dtype | None,
    ) -> Self:
        """With the depth estimator of a folder."""
        estimator: DepthEstimator = DepthEstimator.from_pretrained(folder).eval().to(device)
        return cls.of(estimator, autoencoder, intrinsics, autocast)

    @classmethod
    def of(
        cls, estimator: DepthEstimator, autoencoder: Any, intrinsics: Intrinsics, autocast: torch.dtype | None
    ) -> Self:
        """With a depth estimator, on the device on which it is."""
        encoder = SceneEncoder(
            vae=autoencoder, depth_estimator=estimator, intrinsics=intrinsics, views=_VIEWS, autocast=autocast
        )
        return cls(encoder=encoder)

    @torch.no_grad()
    def show(self, batch: ChunkBatch, made: Tensor | None = None) -> ChunkBatch:
        """The batch with its scene, on the CPU.

        Args:
            made: latents [B, C, t, h, w] of the chunk before, if the model made them: its last frame then takes the
                place of the newest image.
        """
        images = [*batch.images] if made is None else [made, *batch.images[1:]]
        ends = sorted({len(images) - 1, 0}, reverse=True)  # the oldest and the newest
        views = tuple(self._view(images[i], batch.image_poses[:, i]) for i in ends)
        history = replace(batch.history, views=views)
        drawing = self.encoder.draw(history, batch.poses)
        scene = self.encoder.scene(drawing).masked(~batch.unconditional).to(torch.device("cpu"))
        return replace(batch, scene=scene)

    def _view(self, latents: Tensor, pose: NDArray[np.float64]) -> View:
        vae: Any = self.encoder.vae
        scaled = (latents / vae.config.scaling_factor).to(vae.device, vae.dtype)
        with torch.autocast(vae.device.type, self.encoder.autocast, enabled=self.encoder.autocast is not None):
            video = vae.decode(scaled).sample
        return self.encoder.view(video[:, :, -1], pose)
