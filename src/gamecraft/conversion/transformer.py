"""The transformer tensor by tensor, for checkpoints larger than memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gamecraft.checkpoints import (
    Entry,
    convert_transformer_from_official,
    convert_transformer_to_official,
    official_layout,
    read_official_transformer,
)
from gamecraft.conversion.component import Step
from gamecraft.conversion.sources import MappedSource, TensorSource

__all__ = ["open_official_transformer", "transformer_steps_from_official", "transformer_steps_to_official"]


def open_official_transformer(file: Path, weights: Literal["module", "ema"]) -> MappedSource:
    """The tensors of a published ``.pt`` file."""
    return MappedSource(file, lambda: read_official_transformer(file, weights=weights))


def transformer_steps_from_official(
    source: TensorSource, rope_axes_dim: tuple[int, int, int]
) -> tuple[dict[str, Any], tuple[Step, ...]]:
    """The configuration read from the shapes of the published tensors, and the steps to ours, in the order of the file.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of a shape that does not fit the others.
    """
    config, _ = convert_transformer_from_official(source.metas, rope_axes_dim=rope_axes_dim)
    layout = official_layout(config)
    return config, tuple(_split(name, layout[name]) for name in source.metas)


def transformer_steps_to_official(config: Mapping[str, Any], source: TensorSource) -> tuple[Step, ...]:
    """The steps from ours to the published tensors.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of a shape that does not fit the configuration.
    """
    convert_transformer_to_official(config, source.metas)
    return tuple(_join(name, entry) for name, entry in official_layout(config).items())


def _split(name: str, entry: Entry) -> Step:
    def convert(tensors: Sequence[Tensor]) -> list[Tensor]:
        return entry.split(tensors[0])

    return Step(inputs=(name,), outputs=entry.ours, convert=convert)


def _join(name: str, entry: Entry) -> Step:
    def convert(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [entry.join(tensors)]

    return Step(inputs=entry.ours, outputs=(name,), convert=convert)
