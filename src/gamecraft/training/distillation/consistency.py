"""Phased consistency models (arXiv 2405.18407) for rectified flow: as many steps as phases.

Noise levels from 1 to 0 are cut into phases. Within its phase the student, from wherever it stands on a trajectory of
the teacher, is to name the same point at the phase's lower edge; so it learns to get there in one Euler step. The
edges are the levels of the usual scheduler at that number of steps: sampling needs no other code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.training.batch_transformer import Conditions
from gamecraft.training.distillation.teacher import Teacher, per_sample
from gamecraft.training.objectives import interpolate, shift_sigmas
from gamecraft.training.trainer import Trainer

if TYPE_CHECKING:
    from gamecraft.models.text import PromptEmbeds
    from gamecraft.training.chunk_batches import ChunkBatch
    from gamecraft.training.transformer import TransformerTraining

__all__ = ["ConsistencyDistiller", "ConsistencySettings"]


@dataclass(frozen=True, kw_only=True)
class ConsistencySettings:
    """phases: sampling steps of the student. teacher_steps: those of the teacher, a multiple.

    guidance_scale: the teacher's. huber: differences of velocity far below this count squared, far above it linearly.
    """

    phases: int = 4
    teacher_steps: int = 48
    guidance_scale: float = 1.0
    huber: float = 0.1

    def __post_init__(self) -> None:
        if self.phases < 1 or self.teacher_steps % self.phases or self.teacher_steps <= self.phases:
            raise InputError(
                f"teacher_steps is {self.teacher_steps}; expected a multiple of the {self.phases} phases above it"
            )


class ConsistencyDistiller(Trainer):
    """Learns to reach the end of a phase in one step."""

    def __init__(self, config: TransformerTraining, teacher: str, settings: ConsistencySettings) -> None:
        super().__init__(config)
        self.teacher = Teacher(self, teacher)
        self.settings = settings
        self.sampling = {"num_inference_steps": settings.phases, "guidance_scale": 1.0}

    def loss(self, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> Tensor:
        """Pseudo-Huber distance of what two neighbouring points of a trajectory name as the phase's end.

        The distance is divided by the way left in the phase, so that it is one of velocities: all levels weigh alike.
        """
        settings = self.settings
        noise = torch.randn(batch.latents.shape, generator=generator)
        place = torch.randint(1, settings.teacher_steps + 1, (len(noise),), generator=generator)
        per_phase = settings.teacher_steps // settings.phases
        start, following, edge = (
            shift_sigmas(index / settings.teacher_steps, self.config.shift)
            for index in (place, place - 1, (place - 1) // per_phase * per_phase)
        )
        noisy = interpolate(batch.latents, noise, start)
        conditions = Conditions.of(batch, text)
        velocity = self.model(noisy, start, batch.history, conditions)
        noisy, start, following, edge = (
            value.to(velocity.device) for value in (noisy, per_sample(start), per_sample(following), per_sample(edge))
        )
        with torch.no_grad():
            guided = self.teacher.velocity(noisy, start.flatten(), batch, text, settings.guidance_scale)
            later = noisy + (following - start) * guided
            # at the edge itself the way left is zero, and what the student says there does not matter
            onwards = self.model(later, following.flatten(), batch.history, conditions)
            end = later + (edge - following) * onwards
        difference = velocity - (end - noisy) / (edge - start)
        distance: Tensor = ((difference.square() + settings.huber**2).sqrt() - settings.huber).mean()
        return distance
