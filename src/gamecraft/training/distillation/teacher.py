"""What the student is to learn from: velocities of a frozen model, with or without guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.batch_transformer import BatchTransformer, Conditions

if TYPE_CHECKING:
    from gamecraft.models.text import PromptEmbeds
    from gamecraft.training.chunk_batches import ChunkBatch
    from gamecraft.training.trainer import Trainer

__all__ = ["Teacher", "beside", "per_sample"]


def per_sample(values: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1, 1], to be multiplied with latents."""
    return values[:, None, None, None, None]


def beside(trainer: Trainer, folder: str) -> BatchTransformer:
    """Another transformer on the trainer's data and device, compiled and divided as the trained one is."""
    return trainer.on_batches(GameCraftTransformer3DModel.from_pretrained(folder))


class Teacher:
    """A frozen transformer; scale g gives unconditional + g * (conditional - unconditional)."""

    def __init__(self, trainer: Trainer, folder: str) -> None:
        self.model = beside(trainer, folder).eval().requires_grad_(False)
        self._trainer = trainer

    @torch.no_grad()
    def velocity(
        self, noisy: Tensor, sigmas: Tensor, batch: ChunkBatch, text: PromptEmbeds, scale: Tensor | float = 1.0
    ) -> Tensor:
        """Velocity [B, C, t, h, w] float32 of chunks noisy [B, C, t, h, w] at sigmas [B]; scale [B] or one number."""
        with self._trainer.accelerator.autocast():
            found: Tensor = self.model(noisy, sigmas, batch.history, Conditions.of(batch, text))
            if isinstance(scale, float) and scale == 1.0:
                return found
            empty = self._trainer.text([""] * len(noisy))
            other = self.model(noisy, sigmas, batch.history, Conditions.unconditional(batch, empty))
        factor = per_sample(scale).to(found.device) if isinstance(scale, Tensor) else scale
        guided: Tensor = other + factor * (found - other)
        return guided
