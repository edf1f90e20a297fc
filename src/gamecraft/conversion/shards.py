"""Safetensors files written one tensor at a time, each of which appears whole or not at all."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from gamecraft.conversion.sources import DTYPES, SafetensorsSource
from gamecraft.files import write_atomically

__all__ = ["describes_same", "index_json", "shard_names", "write_safetensors"]

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def shard_names(stem: str, count: int) -> list[str]:
    """File names of a model in `count` files, as diffusers and transformers look for them."""
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def index_json(shards: Mapping[str, Mapping[str, Tensor]]) -> str:
    """The index of several shards: file name -> its tensors."""
    size = sum(meta.nbytes for metas in shards.values() for meta in metas.values())
    weight_map = {name: file for file, metas in shards.items() for name in metas}
    return json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"


def describes_same(path: Path, metas: Mapping[str, Tensor]) -> bool:
    """Whether a complete safetensors file has exactly these names, shapes and dtypes."""
    found = SafetensorsSource((path,)).metas
    return found.keys() == metas.keys() and all(
        (found[name].shape, found[name].dtype) == (meta.shape, meta.dtype) for name, meta in metas.items()
    )


def write_safetensors(path: Path, metas: Mapping[str, Tensor], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write a file of known names, shapes and dtypes, holding one tensor at a time.

    Args:
        path: the file; it appears when it is complete.
        metas: name -> tensor on the meta device.
        tensors: all of them as (name, tensor), in any order, produced while writing.
    """
    offsets: dict[str, int] = {}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    # wide types first: every tensor then lies at a multiple of its item size
    for name, meta in sorted(metas.items(), key=lambda item: -item[1].itemsize):
        offsets[name] = end
        end += meta.nbytes
        header[name] = {
            "dtype": _NAMES[meta.dtype],
            "shape": list(meta.shape),
            "data_offsets": [offsets[name], end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        start = file.tell()
        for name, tensor in tensors:
            assert (tensor.shape, tensor.dtype) == (metas[name].shape, metas[name].dtype), name
            file.seek(start + offsets.pop(name))
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        assert not offsets, f"not produced: {sorted(offsets)[:10]}"
        file.flush()
        os.fsync(file.fileno())
