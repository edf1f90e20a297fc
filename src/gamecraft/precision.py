"""What networks compute in: bfloat16 where the machine has instructions for it, else float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers.models.activations import GELU
from torch import Tensor, nn

__all__ = [
    "COMPUTE_DTYPES",
    "autocast_dtype",
    "autocasting",
    "compute_dtype",
    "cpu_autocast",
    "entering",
    "quicken_gelu",
]

COMPUTE_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
"""By the names of `gamecraft.runtime.Runtime.dtype`, but for "auto"."""


def compute_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """The type that an option names; "auto" is bfloat16, unless ``device`` is a CPU that can only imitate it.

    Imitated, large products take about six times as long as in float32 (AVX-512 without its bf16 part).
    With AMX they take a sixth.
    """
    if name != "auto":
        return COMPUTE_DTYPES[name]
    return torch.bfloat16 if torch.device(device).type != "cpu" or _cpu_has_bfloat16() else torch.float32


def autocast_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype | None:
    """As `compute_dtype`, for autocast: None if there is nothing to cast."""
    dtype = compute_dtype(name, device)
    return None if dtype == torch.float32 else dtype


def autocasting(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    """Computes in ``dtype``; in that of the weights if it is None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def entering(x: Tensor, network: Any, autocast: torch.dtype | None) -> Tensor:
    """What a network is given: autocast rounds by itself where it should, else the weights decide."""
    return x.to(network.dtype) if autocast is None else x.float()


def quicken_gelu(network: nn.Module, autocast: torch.dtype | None, device: torch.device | str = "cpu") -> None:
    """On a CPU that computes in less than float32, take GELU itself for its approximation by tanh.

    PyTorch computes the error function in a fifth of the time there; the two differ by 5e-4 at most, which bfloat16
    hardly tells apart.
    """
    if torch.device(device).type == "cpu" and autocast is not None:
        for module in network.modules():
            if isinstance(module, nn.GELU | GELU):
                module.approximate = "none"


def cpu_autocast() -> AbstractContextManager[object]:
    """Computes in what this CPU is quickest at."""
    dtype = autocast_dtype("auto")
    return torch.autocast("cpu", dtype, enabled=dtype is not None)


def _cpu_has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(present is True and name.endswith("bf16") for name, present in capabilities.items())
