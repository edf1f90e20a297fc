"""Flow matching as pure functions, in the convention of diffusers' FlowMatchEulerDiscreteScheduler.

A sample at noise level sigma is x = (1 - sigma) * clean + sigma * noise, the model predicts the velocity
noise - clean, and a step to a lower level is x + velocity * (sigma_next - sigma). The timestep is sigma * 1000.
"""

import torch
from torch import Tensor

__all__ = [
    "TIMESTEPS",
    "flow_loss",
    "interpolate",
    "sample_sigmas",
    "shift_sigmas",
    "velocity_target",
]

TIMESTEPS = 1000
"""Timestep of sigma = 1."""


def shift_sigmas(sigmas: Tensor, shift: float) -> Tensor:
    """Move noise levels in [0, 1] towards 1: shift * u / (1 + (shift - 1) * u), the identity for shift 1."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def sample_sigmas(count: int, shift: float, generator: torch.Generator) -> Tensor:
    """Noise levels [count] float32 in (0, 1): the sigmoid of a standard normal (Stable Diffusion 3), then shifted."""
    return shift_sigmas(torch.randn(count, generator=generator).sigmoid(), shift)


def interpolate(clean: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Samples at noise levels sigmas [B] between clean [B, ...] (0) and noise [B, ...] (1)."""
    levels = _per_sample(sigmas, clean)
    return (1 - levels) * clean + levels * noise


def velocity_target(clean: Tensor, noise: Tensor) -> Tensor:
    """What the model is to predict, [B, ...]: the derivative of `interpolate` by sigma."""
    return noise - clean


def flow_loss(velocity: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error per sample [B] of the velocity of the chunk's latents, all three [B, C, t, h, w].

    A velocity with more latent frames has the history first, which is given and not learned: it is left out.
    """
    new = velocity[:, :, -clean.shape[2] :].float()
    return (new - velocity_target(clean, noise).float()).square().flatten(1).mean(dim=1)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))
