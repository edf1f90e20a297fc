"""What a conversion will write, known completely before the first byte is written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from gamecraft.conversion.component import WeightFile
from gamecraft.conversion.sources import TensorSource

__all__ = ["Options", "Plan"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller chooses beside the folders.

    Args:
        dtype: of the weights written; None keeps the stored types. The action encoder always keeps its own, which is
            float32 in the published model.
        max_shard_bytes: limit for the size of a safetensors file.
        fp8: store the matrices of the transformer's blocks as float8_e4m3, the published choice of layers.
    """

    dtype: torch.dtype | None = None
    fp8: bool = False
    max_shard_bytes: int = 5_000_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked conversion.

    Args:
        description: what is converted to what, for the record in the destination.
        sources: everything that is read.
        files: the weights, in the order of writing.
        finish: writes the small files, the one that makes the folder loadable last.
    """

    description: dict[str, str]
    sources: tuple[TensorSource, ...]
    files: tuple[WeightFile, ...]
    finish: Callable[[Path], None]
