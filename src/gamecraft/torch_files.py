"""Files of ``torch.save``: read without running pickled code, written one tensor at a time."""

import mmap
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gamecraft.errors import CheckpointError
from gamecraft.files import write_atomically

__all__ = ["REMAP_BYTES", "load_torch_file", "named_tensors", "write_torch_file"]

# Pages of a mapped file that were touched count as memory of the process until the mapping goes; a fresh mapping every
# GiB keeps that small and costs nothing beside reading a GiB.
REMAP_BYTES = 1 << 30
_MAP_NORESERVE = 0x4000  # of Linux; the module has the name from Python 3.13 on


def load_torch_file(path: Path) -> Any:
    """The content of a ``torch.save`` file; its tensors are memory-mapped, except in files older than the zip format.

    Raises:
        CheckpointError: no such file, truncated or damaged, or its pickle wants more than tensors and plain containers.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        if not zipfile.is_zipfile(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        return _filled(torch.load(path, map_location="meta", weights_only=True), _mapped(path))
    except Exception as error:  # torch raises many types for damaged or unsafe files
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        reason = (
            f"its pickle asks for {wanted[1]!r}, which could run any code; it needs to hold tensors only"
            if wanted
            else "it is truncated, damaged or of another kind; download it again"
        )
        raise CheckpointError(f"{path}: not a readable weights-only torch file: {reason}") from error


def named_tensors(content: Any, where: str) -> dict[str, Tensor]:
    """What a file, or an entry of it, holds, as tensors by name.

    Args:
        where: the file, for the message.

    Raises:
        CheckpointError: it is something else.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{where}: expected named tensors, found {type(content).__name__}")
    others = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others:
        raise CheckpointError(f"{where}: {len(others)} of what it holds are no named tensors: {', '.join(others[:10])}")
    return dict(content)


def _mapped(path: Path) -> torch.UntypedStorage:
    """The bytes of a file; what is changed in memory does not change the file.

    torch.load's own mapping reserves as much memory as the file has bytes, in case all are changed, which Linux refuses
    for files larger than the memory.
    """
    with path.open("rb") as file:
        if sys.platform == "linux":
            flags, access = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            content = mmap.mmap(file.fileno(), 0, flags=flags, prot=access)
        else:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return torch.frombuffer(content, dtype=torch.uint8).untyped_storage()


def _filled(content: Any, mapped: torch.UntypedStorage) -> Any:
    """Containers of meta tensors, as torch.load makes them, with the tensors at their places in the mapped file."""
    if isinstance(content, Tensor):
        meta = content.untyped_storage()
        start = meta._checkpoint_offset
        if start is None or start + meta.nbytes() > mapped.nbytes():
            raise ValueError("a tensor has no place in the file")
        storage: Any = mapped[start : start + meta.nbytes()]
        place = (content.storage_offset(), content.shape, content.stride())
        return torch.empty(0, dtype=content.dtype).set_(storage, *place)
    if isinstance(content, dict):
        return type(content)((key, _filled(value, mapped)) for key, value in content.items())
    if isinstance(content, list | tuple):
        return type(content)(_filled(value, mapped) for value in content)
    return content


def write_torch_file(
    path: Path,
    metas: Mapping[str, Tensor],
    tensors: Iterable[tuple[str, Tensor]],
    *,
    nest: Callable[[dict[str, Tensor]], Any] = lambda tensors: tensors,
    unnest: Callable[[Any], Mapping[str, Tensor]] = lambda content: content,
) -> None:
    """Write what ``torch.save(nest(tensors), path)`` would, holding one tensor at a time; the file appears whole.

    Args:
        path: the file.
        metas: name -> tensor on the meta device, shape and dtype of everything to write.
        tensors: all of them as (name, tensor), in any order, produced while writing.
        nest, unnest: wrap the tensors as they lie in the file, and find them again.
    """
    with FakeTensorMode():
        blank = {name: torch.empty(meta.shape, dtype=meta.dtype) for name, meta in metas.items()}
    with write_atomically(path) as temporary:
        with torch.serialization.skip_data(materialize_fake_tensors=True):
            torch.save(nest(blank), temporary)
        mapped: Mapping[str, Tensor] = {}
        written = REMAP_BYTES
        for name, tensor in tensors:
            if written >= REMAP_BYTES:
                with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
                    mapped = unnest(torch.load(temporary, weights_only=True, mmap=True))
                written = 0
            mapped[name].copy_(tensor)
            written += tensor.nbytes
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
