"""Distribution matching on the model's own rollouts (DMD2, arXiv 2405.14867; self-forcing, arXiv 2506.08009).

The student plays: from noise, in its few steps, after a history it made itself (`own_history` of the training). Where
the density of its results differs from the teacher's, the difference of two velocities tells: that of the teacher and
that of a critic which keeps learning what the student makes. The student follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.training.batch_transformer import Conditions
from gamecraft.training.distillation.teacher import Teacher, beside, per_sample
from gamecraft.training.objectives import flow_loss, interpolate, sample_sigmas, shift_sigmas
from gamecraft.training.optimizers import MuonAdamW, split_parameters
from gamecraft.training.trainer import Trainer

if TYPE_CHECKING:
    from gamecraft.models.text import PromptEmbeds
    from gamecraft.training.chunk_batches import ChunkBatch
    from gamecraft.training.transformer import TransformerTraining

__all__ = ["MatchingDistiller", "MatchingSettings"]


@dataclass(frozen=True, kw_only=True)
class MatchingSettings:
    """steps: sampling steps of the student. critic_updates: of the critic for each of the student.

    critic_rate: the critic's learning rates as a share of the student's. guidance_scale: the teacher's.
    """

    steps: int = 4
    critic_updates: int = 4
    critic_rate: float = 1.0
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        if min(self.steps, self.critic_updates) < 1:
            raise InputError(f"steps and critic_updates must be at least 1, received {self}")


class MatchingDistiller(Trainer):
    """Learns to make what the teacher would make, in a few steps and after its own chunks."""

    def __init__(self, config: TransformerTraining, teacher: str, settings: MatchingSettings) -> None:
        super().__init__(config)
        self.teacher = Teacher(self, teacher)
        self.settings = settings
        self.sampling = {"num_inference_steps": settings.steps, "guidance_scale": 1.0}
        self.critic = self.prepare(beside(self, teacher))
        self.critic_optimizer = MuonAdamW(
            *split_parameters(self.accelerator.unwrap_model(self.critic).transformer),
            muon_rate=None if config.muon_lr is None else config.muon_lr * settings.critic_rate,
            adam_rate=config.adamw_lr * settings.critic_rate,
        )

    def parts(self) -> dict[str, Any]:
        """The critic and its optimizer are part of a checkpoint too."""
        critic = self.accelerator.unwrap_model(self.critic).transformer
        return {**super().parts(), "critic": critic, "critic_optimizer": self.critic_optimizer}

    def loss(self, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> Tensor:
        """A squared error whose gradient in the student's result is the normalised difference of the two densities.

        The critic learns from the same batch first.
        """
        made = self._make(batch, text, generator)
        for _ in range(self.settings.critic_updates):
            self._teach_critic(made.detach(), batch, text, generator)
        noise = torch.randn(made.shape, generator=generator).to(made.device)
        sigmas = sample_sigmas(len(made), self.config.shift, generator).to(made.device)
        noisy = interpolate(made.detach(), noise, sigmas)
        with torch.no_grad():
            real = self.teacher.velocity(noisy, sigmas, batch, text, self.settings.guidance_scale)
            fake = self.critic(noisy, sigmas, batch.history, Conditions.of(batch, text))
            wanted = noisy - per_sample(sigmas) * real
            spread = (made - wanted).abs().mean(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1e-4)
            target = made - per_sample(sigmas) * (real - fake) / spread
        error: Tensor = 0.5 * (made - target).square().mean()
        return error

    def _make(self, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> Tensor:
        """Chunks [B, C, t, h, w] as sampled up to a random step, whose guess of the clean latents has a gradient."""
        steps, conditions = self.settings.steps, Conditions.of(batch, text)
        levels = shift_sigmas(torch.linspace(1, 0, steps + 1), self.config.shift)
        drawn = torch.randint(steps, (1,), generator=generator).to(self.accelerator.device)
        last = int(broadcast(drawn))  # parts of one model must make the same passes
        noisy = torch.randn(batch.latents.shape, generator=generator)
        for step in range(last + 1):
            sigmas = levels[step].expand(len(noisy))
            with torch.set_grad_enabled(step == last):
                velocity = self.model(noisy, sigmas, batch.history, conditions)
            following = 0.0 if step == last else float(levels[step + 1])
            noisy = noisy.to(velocity.device) + (following - float(levels[step])) * velocity
        return noisy

    def _teach_critic(self, made: Tensor, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> None:
        """One flow-matching update on what the student made."""
        noise = torch.randn(made.shape, generator=generator).to(made.device)
        sigmas = sample_sigmas(len(made), self.config.shift, generator).to(made.device)
        velocity = self.critic(interpolate(made, noise, sigmas), sigmas, batch.history, Conditions.of(batch, text))
        self.accelerator.backward(flow_loss(velocity, made, noise).mean())
        self.critic_optimizer.step()
