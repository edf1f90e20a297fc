"""From noise to the clean latents of a chunk: Euler steps of rectified flow with classifier-free guidance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from gamecraft.history import History, model_input, show_scene
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.transformer import GameCraftTransformer3DModel, trim_text
from gamecraft.precision import autocasting
from gamecraft.scene import Scene

__all__ = ["Conditioning", "GuidanceRanks", "StepCallback", "denoise"]


class GuidanceRanks(Protocol):
    """Two ranks that compute one half of guidance each."""

    @property
    def half(self) -> int:
        """Which half this one computes: 0 without prompt and actions, 1 with."""

    def gather(self, velocity: Tensor) -> Tensor:
        """Velocities [B, C, t, h, w] of this half -> [2B, C, t, h, w] of both."""


StepCallback = Callable[[int, Tensor, Tensor], Tensor]
"""Called with (step, timestep, latents) after each step; its result takes the place of the latents."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditioning:
    """What steers a batch of chunks, constant over the denoising steps.

    Attributes:
        embeds: text tokens [B, L, D].
        mask: [B, L], or None where all tokens are valid.
        pooled: [B, P].
        action_embeds: [B, T*h*w/patch^2, hidden] from ``encode_actions``.
        positions: [B, T*h*w/patch^2, axes] from ``locate_tokens``, or None.
        scene: what the views of B plays show of their chunks, or None.
        attend_to_padding: see ``gamecraft.compatibility.Compatibility``.
    """

    embeds: Tensor
    mask: Tensor | None
    pooled: Tensor
    action_embeds: Tensor
    positions: Tensor | None = None
    scene: Scene | None = None
    attend_to_padding: bool = False

    @classmethod
    def of(
        cls,
        prompts: Sequence[PromptEmbeds],
        action_embeds: Tensor,
        positions: Tensor | None = None,
        *,
        scene: Scene | None = None,
        attend_to_padding: bool = False,
    ) -> "Conditioning":
        """Prompts one below the other, without the padding they share, and what `encode_actions` etc. gave for them."""
        embeds, mask, pooled = (torch.cat(parts) for parts in zip(*prompts, strict=True))
        valid: Tensor | None = mask
        if not attend_to_padding:
            embeds, valid = trim_text(embeds, mask)
        return cls(
            embeds=embeds,
            mask=valid,
            pooled=pooled,
            action_embeds=action_embeds,
            positions=positions,
            scene=scene,
            attend_to_padding=attend_to_padding,
        )


def denoise(
    transformer: GameCraftTransformer3DModel,
    scheduler: FlowMatchEulerDiscreteScheduler,
    noise: Tensor,
    history: History,
    branches: Sequence[tuple[str, Conditioning]],
    *,
    num_inference_steps: int,
    guidance_scale: float = 1.0,
    autocast: torch.dtype | None = None,
    gather: Callable[[Tensor], Tensor] | None = None,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Denoise the latents of a chunk beside its clean history.

    Args:
        scheduler: holds the shift of the schedule; its timesteps are set here.
        noise: [B, C, t, h, w].
        history: clips [B, C, t_i, h, w].
        branches: forward passes of a step, each with its cache context; together they give B velocities, or with
            guidance 2B, those without prompt and actions first.
        guidance_scale: g in v = u + g (c - u); only with 2B velocities.
        autocast: type in which the transformer computes; that of its weights if None.
        gather: gives the velocities of all branches where other ranks compute some of them.

    Returns:
        latents [B, C, t, h, w] float32. The steps are summed in float32 whatever the transformer computes in.
    """
    transformer._reset_stateful_cache()  # what a cache keeps is of the chunk before
    # The published schedule: from pure noise to the last step before zero, before the scheduler applies its shift.
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, num_inference_steps + 1)[:-1], device=noise.device)
    latents, steps = noise.float(), num_inference_steps
    for step, timestep in enumerate(scheduler.timesteps):
        inputs = model_input(latents if autocast else latents.to(transformer.dtype), history)
        with autocasting(autocast, noise.device):
            velocities = [
                _velocity(transformer, inputs, timestep, branch, name=name, step_index=step, num_inference_steps=steps)
                for name, branch in branches
            ]
        velocity = torch.cat(velocities)[:, :, history.num_latents :].float()
        if gather is not None:
            velocity = gather(velocity)
        if len(velocity) > len(noise):
            unconditional, conditional = velocity.chunk(2)
            velocity = unconditional + guidance_scale * (conditional - unconditional)
        latents = scheduler.step(velocity, timestep, latents).prev_sample
        if on_step is not None:
            latents = on_step(step, timestep, latents)
    return latents


def _velocity(
    transformer: GameCraftTransformer3DModel, inputs: Tensor, timestep: Tensor, branch: Conditioning, **context: Any
) -> Tensor:
    batch = len(branch.embeds)
    inputs = inputs.repeat(batch // len(inputs), 1, 1, 1, 1)
    if branch.scene is not None:
        inputs = show_scene(inputs, branch.scene)
    with transformer.cache_context(**context):
        output = transformer(
            inputs,
            timestep.expand(batch),
            branch.embeds,
            branch.mask,
            branch.pooled,
            action_embeds=branch.action_embeds,
            positions=branch.positions,
            attend_to_padding=branch.attend_to_padding,
            return_dict=False,
        )
    velocity: Tensor = output[0]
    return velocity
