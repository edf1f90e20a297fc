"""Whether weights fit into memory, said before they are loaded, and not by a process that ends without a word."""

from collections.abc import Mapping

import psutil
import torch

from gamecraft.errors import InputError
from gamecraft.runtime import Runtime

__all__ = ["check_main_memory", "check_model_memory"]

_GB = 1e9


def check_main_memory(needed: float, what: str) -> None:
    """Refuse to load what cannot fit beside everything that runs already.

    Args:
        needed: bytes that will be taken at the least.
        what: what takes them.

    Raises:
        InputError: less is free.
    """
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed > free:
        raise InputError(
            f"{what} needs {needed / _GB:.1f} GB of main memory, but {free / _GB:.1f} GB are free; end other programs, "
            "or see what fits with gamecraft doctor"
        )


def check_model_memory(numbers: Mapping[str, int], runtime: Runtime, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a model whose weights alone fit neither the memory they are loaded to nor, on a GPU, that of the device.

    Args:
        numbers: how many numbers each part's weights have.
        runtime: options; what is offloaded needs no room on the device at once.
        device: where it computes.
        dtype: of the weights.

    Raises:
        InputError: they do not fit; says what is needed, what is there and what to do.
    """
    sizes = {part: float(count * dtype.itemsize) for part, count in numbers.items()}
    if device.type != "cuda":
        check_main_memory(sum(sizes.values()), "the model")
        return
    if runtime.weights != "full":  # at the least: the matrices of the blocks are not all
        sizes["transformer"] = sizes.get("transformer", 0.0) / dtype.itemsize
    if runtime.offload not in ("none", "model"):
        return
    needed = sum(sizes.values()) if runtime.offload == "none" else max(sizes.values(), default=0.0)
    free, _ = torch.cuda.mem_get_info(device)
    if needed > free:
        raise InputError(
            f"the weights need {needed / _GB:.1f} GB of {device}, but {free / _GB:.1f} GB are free; try "
            "--runtime low-vram, or see what fits with gamecraft doctor"
        )
