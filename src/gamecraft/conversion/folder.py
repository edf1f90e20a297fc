"""Carry out a planned conversion: check room, write what is missing, finish.

A destination keeps a record of what it is made from, so that the same command continues after an interruption and
another one is refused.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gamecraft.conversion.component import WeightFile
from gamecraft.conversion.plan import Options, Plan
from gamecraft.errors import CheckpointError, InputError
from gamecraft.files import write_atomically

__all__ = ["RECORD", "Progress", "run_plan"]

logger = logging.getLogger(__name__)

RECORD = "gamecraft_conversion.json"
_EDGE = 1 << 20  # bytes
_SPARE = 64 << 20  # bytes, for everything that is not weights

Progress = Callable[[int, int, Path], None]
"""Called with the bytes done, the bytes in all and the file at hand."""


def run_plan(plan: Plan, dest: Path, options: Options, progress: Progress = lambda done, total, file: None) -> None:
    """Write everything that `dest` does not have yet.

    Raises:
        CheckpointError: `dest` holds something else, or cannot be written.
        InputError: too little room on the disk.
    """
    record = _record(plan, options)
    _check_dest(dest, record)
    for file in plan.files:
        for leftover in file.path.parent.glob(f".{file.path.name}.*.tmp"):
            leftover.unlink()
    pending = [file for file in plan.files if not file.is_complete()]
    logger.info("%d of %d files are already there", len(plan.files) - len(pending), len(plan.files))
    total = sum(file.nbytes for file in plan.files)
    missing = sum(file.nbytes for file in pending)
    _check_room(dest, missing + _SPARE)
    try:
        with write_atomically(dest / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")
        _write(pending, dest, total - missing, total, progress)
        plan.finish(dest)
    except OSError as error:
        raise CheckpointError(
            f"{dest}: cannot be written ({error}); finished files are kept, the same command continues"
        ) from error


def _write(files: list[WeightFile], dest: Path, done: int, total: int, progress: Progress) -> None:
    progress(done, total, files[0].path if files else dest)
    for file in files:

        def on_tensor(size: int, path: Path = file.path) -> None:
            nonlocal done
            done += size
            progress(done, total, path)

        on_tensor(0)
        file.write(on_tensor)


def _record(plan: Plan, options: Options) -> dict[str, Any]:
    files = [file for source in plan.sources for file in source.files]
    return {
        **plan.description,
        "dtype": str(options.dtype),
        "fp8": options.fp8,
        "max_shard_bytes": options.max_shard_bytes,
        "sources": {f"{file.parent.name}/{file.name}": _fingerprint(file) for file in files},
    }


def _check_dest(dest: Path, record: dict[str, Any]) -> None:
    path = dest / RECORD
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise CheckpointError(f"{path}: not a readable record of a conversion; remove {dest}") from error
        changed = sorted(name for name in {*found, *record} if found.get(name) != record.get(name))
        if changed:
            raise CheckpointError(
                f"{dest} holds another conversion, different in {', '.join(changed)}; choose another folder"
            )
    elif dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise CheckpointError(f"{dest} exists and is not a conversion begun before; choose a new folder")


def _check_room(dest: Path, needed: int) -> None:
    existing = next(folder for folder in (dest, *dest.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InputError(f"{dest}: {needed / 1e9:.1f} GB will be written, but only {free / 1e9:.1f} GB are free")


def _fingerprint(file: Path) -> str:
    """A number for the content of a large file, from its size and both ends."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as content:
        digest.update(content.read(_EDGE))
        content.seek(max(0, size - _EDGE))
        digest.update(content.read(_EDGE))
    return digest.hexdigest()[:16]
