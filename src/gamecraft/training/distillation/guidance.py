"""Guidance distillation: the student gives in one pass what the teacher gives with and without its conditions.

The loss is that of section 5.3 of the Hunyuan-GameCraft paper (after arXiv 2210.03142): the squared difference to
(1 + w) v(conditions) - w v(nothing), with the strength w drawn anew for each sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.training.batch_transformer import Conditions
from gamecraft.training.distillation.teacher import Teacher
from gamecraft.training.objectives import interpolate, sample_sigmas
from gamecraft.training.trainer import Trainer

if TYPE_CHECKING:
    from gamecraft.models.text import PromptEmbeds
    from gamecraft.training.chunk_batches import ChunkBatch
    from gamecraft.training.transformer import TransformerTraining

__all__ = ["GuidanceDistiller", "GuidanceSettings"]


@dataclass(frozen=True, kw_only=True)
class GuidanceSettings:
    """Guidance scales g = 1 + w to learn, drawn uniformly; a student without guidance embedding learns their mean."""

    lowest: float = 2.0
    highest: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.lowest <= self.highest:
            raise InputError(f"guidance scales need 1 <= lowest <= highest, received {self}")


class GuidanceDistiller(Trainer):
    """Learns the guided velocity of a teacher."""

    def __init__(self, config: TransformerTraining, teacher: str, settings: GuidanceSettings) -> None:
        super().__init__(config)
        self.teacher = Teacher(self, teacher)
        self.settings = settings
        self.sampling = {"num_inference_steps": config.evaluation.steps, "guidance_scale": 1.0}

    def loss(self, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> Tensor:
        """Mean squared error to the teacher's guided velocity."""
        noise = torch.randn(batch.latents.shape, generator=generator)
        sigmas = sample_sigmas(len(noise), self.config.shift, generator)
        span = self.settings.highest - self.settings.lowest
        scales = self.settings.lowest + span * torch.rand(len(noise), generator=generator)
        noisy = interpolate(batch.latents, noise, sigmas)
        target = self.teacher.velocity(noisy, sigmas, batch, text, scales)
        guidance = scales if self.transformer.config.guidance_embeds else None
        velocity = self.model(noisy, sigmas, batch.history, Conditions.of(batch, text), guidance)
        error: Tensor = (velocity - target).square().mean()
        return error
