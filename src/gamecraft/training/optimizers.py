"""Muon for hidden matrices with AdamW for all other parameters, and the course of the learning rate."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gamecraft.errors import InputError
from gamecraft.precision import compute_dtype

__all__ = ["Muon", "MuonAdamW", "Schedule", "learning_rate_factor", "orthogonalize", "split_parameters"]

_BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")
# coefficients of the quintic iteration and their origin: https://kellerjordan.github.io/posts/muon/
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Course of the learning rate over optimizer steps: linear warm-up, then one of

    * trapezoid: constant until `cooldown_steps` before the end, then linear to zero;
    * cosine: half a cosine from the end of the warm-up to zero at the end.
    """

    shape: Literal["trapezoid", "cosine"] = "trapezoid"
    warmup_steps: int = 100
    cooldown_steps: int = 1000

    def __post_init__(self) -> None:
        if self.warmup_steps < 0 or self.cooldown_steps < 0:
            raise InputError(f"steps of a schedule must not be negative, received {self}")


def learning_rate_factor(step: int, max_steps: int, schedule: Schedule) -> float:
    """Factor on the peak learning rate for optimizer step `step` of 0 .. max_steps - 1; never 0 within them."""
    warm = min(1.0, (step + 1) / (schedule.warmup_steps + 1))
    left = max(0, max_steps - step)
    if schedule.shape == "cosine":
        span = max(1, max_steps - schedule.warmup_steps)
        return warm * 0.5 * (1 - math.cos(math.pi * min(1.0, left / span)))
    return warm * min(1.0, left / (min(schedule.cooldown_steps, max_steps) + 1))


def split_parameters(transformer: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters of a diffusers video transformer: matrices between hidden features of a block, and others.

    The blocks' modulation (`norm*.linear`) is among the others: it starts at zero and reads the time embedding.
    """
    hidden: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in transformer.named_parameters():
        inside = name.startswith(_BLOCKS) and ".norm" not in name
        if parameter.requires_grad:
            (hidden if inside and parameter.ndim == 2 else other).append(parameter)
    return hidden, other


def orthogonalize(matrices: Tensor) -> Tensor:
    """Nearly orthogonal matrices [n, rows, columns] with the singular vectors of the given ones, in bfloat16 where
    the device is quick at it.

    The Newton-Schulz iteration brings the singular values near 1 (0.7 to 1.2), not to it, which is all Muon needs.
    """
    a, b, c = _COEFFICIENTS
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = (matrices if wide else matrices.mT).to(compute_dtype("auto", matrices.device))
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon as `torch.optim.Muon` (rule "original": the rate is multiplied by sqrt(max(1, rows / columns))).

    Beyond that class it takes convolution kernels, as matrices [out, in * kernel], and orthogonalizes all parameters
    of one shape together, which for many small ones takes a third of the time.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__([{"params": list(params)}], {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient; a closure is not supported."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            for p in parameters:
                self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
            buffers = [self.state[p]["momentum_buffer"] for p in parameters]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            updates = torch._foreach_lerp(gradients, buffers, group["momentum"])  # Nesterov
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            by_shape: dict[torch.Size, list[int]] = {}
            for i, p in enumerate(parameters):
                by_shape.setdefault(p.shape, []).append(i)
            for shape, chosen in by_shape.items():
                stacked = torch.stack([updates[i] for i in chosen]).flatten(2)
                rate = group["lr"] * math.sqrt(max(1.0, stacked.shape[1] / stacked.shape[2]))
                for i, update in zip(chosen, orthogonalize(stacked), strict=True):
                    parameters[i].add_(update.reshape(shape).to(parameters[i].dtype), alpha=-rate)


class MuonAdamW:
    """Muon on `hidden` and AdamW on `other` parameters as one optimizer whose step takes the schedule's factor.

    Without a rate for Muon, AdamW has them all.
    """

    def __init__(
        self,
        hidden: list[nn.Parameter],
        other: list[nn.Parameter],
        *,
        muon_rate: float | None,
        adam_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        if muon_rate is None:
            hidden, other = [], [*hidden, *other]
        matrices = [p for p in other if p.ndim >= 2]
        vectors = [p for p in other if p.ndim < 2]  # biases and gains are not decayed
        self.muon = Muon(hidden, lr=muon_rate or 0.0, weight_decay=weight_decay)
        self.adamw = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=adam_rate,
            betas=betas,
            fused=True,
        )
        self._peaks = ((self.muon, muon_rate or 0.0), (self.adamw, adam_rate))

    def step(self, factor: float = 1.0) -> None:
        """One update at `factor` times the peak rates; the gradients are cleared."""
        for optimizer, peak in self._peaks:
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def fill_state(self) -> None:
        """Let all state exist, with an update that changes nothing, so that a checkpoint can be read into it."""
        for optimizer, _ in self._peaks:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.zeros_like(parameter)
        self.step(0.0)

    def state_dict(self) -> dict[str, Any]:
        """The state of both, for a checkpoint."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; peak rates and decay stay those of this object's construction."""
        for name, optimizer in (("muon", self.muon), ("adamw", self.adamw)):
            own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
            optimizer.load_state_dict(state[name])
            for group, settings in zip(optimizer.param_groups, own, strict=True):
                group.update(settings)
