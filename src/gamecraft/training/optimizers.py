"""Muon for the matrices inside the transformer blocks, AdamW for everything else, and the learning-rate schedule."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from gamecraft.errors import InputError

__all__ = [
    "OptimizerSettings",
    "Schedule",
    "build_optimizers",
    "is_hidden_matrix",
    "learning_rate_factor",
    "set_factor",
]

_BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")
_INITIAL = "initial_lr"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Course of the learning rate over optimizer steps: linear warm-up, then one of

    * trapezoid: constant until `cooldown_steps` before `max_steps`, then linear to zero;
    * cosine: half a cosine from the end of the warm-up to zero at `max_steps`.
    """

    shape: Literal["trapezoid", "cosine"] = "trapezoid"
    warmup_steps: int = 100
    cooldown_steps: int = 1000

    def __post_init__(self) -> None:
        if self.warmup_steps < 0 or self.cooldown_steps < 0:
            raise InputError(f"steps of a schedule must not be negative, received {self}")


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Peak learning rates and decay (decoupled, relative to the learning rate; AdamW decays matrices only)."""

    muon_lr: float = 0.01
    adamw_lr: float = 6e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)


def learning_rate_factor(step: int, max_steps: int, schedule: Schedule) -> float:
    """Factor on the peak learning rate for optimizer step `step` of 0 .. max_steps - 1; never 0 within them."""
    warm = min(1.0, (step + 1) / (schedule.warmup_steps + 1))
    left = max(0, max_steps - step)
    if schedule.shape == "cosine":
        span = max(1, max_steps - schedule.warmup_steps)
        return warm * 0.5 * (1 - math.cos(math.pi * min(1.0, left / span)))
    return warm * min(1.0, left / (schedule.cooldown_steps + 1))


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter of the transformer is a matrix between hidden features of a block.

    The modulation layers (`norm*.linear`) are left to AdamW: they start at zero and read the time embedding.
    """
    inside = any(name.startswith(blocks) or f".{blocks}" in name for blocks in _BLOCKS)
    return inside and parameter.ndim == 2 and ".norm" not in name


def build_optimizers(model: nn.Module, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """Muon and AdamW that together hold every trainable parameter of `model` once.

    torch's Muon with its "original" rule multiplies the rate by sqrt(max(1, rows / columns)), as in the first
    publication of Muon, so rates found with that one carry over.
    """
    hidden, matrices, others = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if is_hidden_matrix(name, parameter):
            hidden.append(parameter)
        else:
            (matrices if parameter.ndim >= 2 else others).append(parameter)
    muon = torch.optim.Muon(
        hidden, lr=settings.muon_lr, weight_decay=settings.weight_decay, momentum=0.95, adjust_lr_fn="original"
    )
    adamw = torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
        lr=settings.adamw_lr,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group[_INITIAL] = group["lr"]
    return [muon, adamw]


def set_factor(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set every learning rate to `factor` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group[_INITIAL] * factor
