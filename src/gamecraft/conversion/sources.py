"""Tensors of large files, read one at a time.

A source knows name, shape and dtype of everything beforehand, as tensors on the meta device; reading one must not keep
the others in memory.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gamecraft.errors import CheckpointError
from gamecraft.torch_files import REMAP_BYTES, load_torch_file, named_tensors

__all__ = ["DTYPES", "MappedSource", "SafetensorsSource", "TensorSource", "open_weights", "read_settings"]

# names in the header of a safetensors file
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorSource(Protocol):
    """Named tensors on disk."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Where they are."""

    @property
    def metas(self) -> Mapping[str, Tensor]:
        """Name -> tensor on the meta device."""

    def read(self, name: str) -> Tensor:
        """One tensor; drop it before reading many others."""


class MappedSource:
    """Tensors of a ``torch.save`` file.

    Args:
        file: where they are.
        open_file: maps the file anew and returns its tensors.
    """

    def __init__(self, file: Path, open_file: Callable[[], Mapping[str, Tensor]]) -> None:
        self.files = (file,)
        self._open_file = open_file
        self._tensors = open_file()
        self._bytes_read = 0
        self.metas = {name: tensor.to("meta") for name, tensor in self._tensors.items()}

    def read(self, name: str) -> Tensor:
        """One tensor, in memory that is shared with the file."""
        if self._bytes_read > REMAP_BYTES:
            self._tensors, self._bytes_read = self._open_file(), 0
        self._bytes_read += self._tensors[name].nbytes
        return self._tensors[name]


class SafetensorsSource:
    """Tensors of one or several safetensors files."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = files
        self.metas: dict[str, Tensor] = {}
        self._file_of: dict[str, Path] = {}
        for file in files:
            for name, (dtype, shape) in _header(file).items():
                if dtype not in DTYPES:
                    raise CheckpointError(f"{file}: {name} is of type {dtype}; expected one of {', '.join(DTYPES)}")
                self.metas[name] = torch.empty(shape, dtype=DTYPES[dtype], device="meta")
                self._file_of[name] = file

    def read(self, name: str) -> Tensor:
        """One tensor; the file is opened and closed again, so that only this tensor is held."""
        with safe_open(self._file_of[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


def open_weights(folder: Path, stem: str) -> TensorSource:
    """The weights of a model folder: ``{stem}.safetensors``, its shards with an index, or ``pytorch_model.bin``.

    Raises:
        CheckpointError: none of them, a shard is missing, or a file is damaged.
    """
    index = folder / f"{stem}.safetensors.index.json"
    single = folder / f"{stem}.safetensors"
    pickled = folder / "pytorch_model.bin"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{index}: not an index of safetensors shards ({error})") from error
        absent = [name for name in names if not (folder / name).is_file()]
        if absent:
            raise CheckpointError(f"{folder}: {len(absent)} of {len(names)} shards missing: {', '.join(absent[:10])}")
        return SafetensorsSource(tuple(folder / name for name in names))
    if single.is_file():
        return SafetensorsSource((single,))
    if pickled.is_file():
        return MappedSource(pickled, lambda: named_tensors(load_torch_file(pickled), str(pickled)))
    raise CheckpointError(f"{folder}: expected {single.name}, {index.name} with its shards, or {pickled.name}")


def read_settings(file: Path) -> dict[str, Any]:
    """The content of a model's ``config.json``.

    Raises:
        CheckpointError: it cannot be read, or is no JSON object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return content


def _header(file: Path) -> dict[str, tuple[str, list[int]]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (not a mapping)
            return {name: (view.get_dtype(), view.get_shape()) for name, view in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: truncated, damaged or not a safetensors file ({error})") from error
