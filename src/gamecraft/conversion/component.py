"""The weights of one model on their way: which tensors become which, and in which files."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gamecraft.conversion.shards import describes_same, index_json, shard_names, write_safetensors
from gamecraft.conversion.sources import TensorSource
from gamecraft.errors import CheckpointError
from gamecraft.torch_files import load_torch_file, write_torch_file

__all__ = ["Component", "Step", "WeightFile", "renames", "safetensors_files", "torch_file"]

logger = logging.getLogger(__name__)


def _same(tensors: Sequence[Tensor]) -> list[Tensor]:
    return list(tensors)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Some tensors of the source become some tensors of the destination."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    convert: Callable[[Sequence[Tensor]], list[Tensor]] = _same


@dataclass(frozen=True, kw_only=True)
class Component:
    """All weights of one model.

    Args:
        source: where they are.
        steps: what becomes of them; together they make every tensor of the destination.
        dtype: of the floating point tensors written; None keeps the stored one.
        float32: beginnings of the names (in the destination) that `dtype` leaves as they are stored.
        fp8: names (in the destination) that become float8_e4m3.
    """

    source: TensorSource
    steps: tuple[Step, ...]
    dtype: torch.dtype | None = None
    float32: tuple[str, ...] = ()
    fp8: frozenset[str] = frozenset()

    def metas(self, step: Step) -> dict[str, Tensor]:
        """What a step makes, on the meta device."""
        return dict(self._convert(step, [self.source.metas[name] for name in step.inputs]))

    def tensors(self, steps: Sequence[Step]) -> Iterator[tuple[str, Tensor]]:
        """What some steps make, one step at a time."""
        for step in steps:
            yield from self._convert(step, [self.source.read(name) for name in step.inputs])

    def _convert(self, step: Step, tensors: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in zip(step.outputs, step.convert(tensors), strict=True):
            cast = self.dtype is not None and tensor.is_floating_point() and not name.startswith(self.float32)
            dtype = torch.float8_e4m3fn if name in self.fp8 else self.dtype if cast else tensor.dtype
            yield name, tensor.to(dtype)


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One file of the destination.

    Args:
        path: the file.
        component: what the weights belong to.
        steps: the part of its steps that make them.
        entries: names of the dictionaries around the tensors of a ``torch.save`` file; None = a safetensors file.
    """

    path: Path
    component: Component
    steps: tuple[Step, ...]
    entries: tuple[str, ...] | None = field(default=None)

    @cached_property
    def metas(self) -> dict[str, Tensor]:
        """Every tensor of the file, on the meta device."""
        return {name: meta for step in self.steps for name, meta in self.component.metas(step).items()}

    @property
    def nbytes(self) -> int:
        """Size of the tensors."""
        return sum(meta.nbytes for meta in self.metas.values())

    def is_complete(self) -> bool:
        """Whether the file is there, whole, with exactly these names, shapes and dtypes."""
        if not self.path.exists():
            return False
        try:
            if self.entries is None:
                return describes_same(self.path, self.metas)
            found = self._unnest(load_torch_file(self.path))
        except CheckpointError as error:
            logger.warning("%s; it is written again", error)
            return False
        return {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == {
            name: (meta.shape, meta.dtype) for name, meta in self.metas.items()
        }

    def write(self, on_tensor: Callable[[int], None]) -> None:
        """Write the file; `on_tensor` hears the size in bytes of each tensor that is done."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.entries is None:
            write_safetensors(self.path, self.metas, self._tensors(on_tensor))
        else:
            write_torch_file(self.path, self.metas, self._tensors(on_tensor), nest=self._nest, unnest=self._unnest)

    def _tensors(self, on_tensor: Callable[[int], None]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.component.tensors(self.steps):
            yield name, tensor
            on_tensor(tensor.nbytes)

    def _nest(self, tensors: dict[str, Tensor]) -> dict[str, object]:
        content: dict[str, object] = dict(tensors)
        for entry in reversed(self.entries or ()):
            content = {entry: content}
        return content

    def _unnest(self, content: Mapping[str, object]) -> Mapping[str, Tensor]:
        for entry in self.entries or ():
            content = content[entry]  # type: ignore[assignment]
        return content  # type: ignore[return-value]


def renames(names: Mapping[str, str]) -> tuple[Step, ...]:
    """Steps that only give tensors other names: old name -> new name."""
    return tuple(Step(inputs=(old,), outputs=(new,)) for old, new in names.items())


def safetensors_files(component: Component, folder: Path, stem: str, max_bytes: int) -> tuple[list[WeightFile], str]:
    """A component as files of at most `max_bytes` each, unless one step makes more, and the text of their index.

    The index is empty for a single file.
    """
    groups: list[list[Step]] = [[]]
    filled = 0
    for step in component.steps:
        size = sum(meta.nbytes for meta in component.metas(step).values())
        if groups[-1] and filled + size > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(step)
        filled += size
    files = [
        WeightFile(path=folder / name, component=component, steps=tuple(steps))
        for name, steps in zip(shard_names(stem, len(groups)), groups, strict=True)
    ]
    return files, index_json({file.path.name: file.metas for file in files}) if len(files) > 1 else ""


def torch_file(component: Component, path: Path, *entries: str) -> WeightFile:
    """A component as one ``torch.save`` file, the tensors under `entries`."""
    return WeightFile(path=path, component=component, steps=component.steps, entries=entries)
