"""Matrices kept in float8_e4m3 and widened while they are used.

The casting that diffusers has would round the biases as well, which the published code leaves as they are.
"""

from collections.abc import Iterable

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["keep_in_fp8"]


def keep_in_fp8(layers: Iterable[nn.Linear], dtype: torch.dtype) -> None:
    """Round the matrices of some layers, in place, and let the layers compute in ``dtype``; biases stay as they are."""
    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
        HookRegistry.check_if_exists_or_initialize(layer).register_hook(_Widen(dtype), "fp8_weight")


class _Widen(ModelHook):  # type: ignore[misc]
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def new_forward(self, module: nn.Linear, values: Tensor) -> Tensor:
        bias = None if module.bias is None else module.bias.to(self.dtype)
        return F.linear(values, module.weight.to(self.dtype), bias)
