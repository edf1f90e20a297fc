"""Model folders as files: is everything there and whole, and which model is it. Nothing heavy is imported."""

import hashlib
import importlib.resources
import json
import math
from pathlib import Path
from typing import Any

from gamecraft.errors import CheckpointError
from gamecraft.packaging import installed_index

__all__ = ["check_model_folder", "embedded_model", "folder_of", "model_digest", "weight_names", "weight_sizes"]

_PIPELINE = "GameCraftPipeline"
_COMPONENTS = ("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "transformer", "scheduler")
_OPTIONAL = ("depth_estimator", "refiner")
_WITHOUT_WEIGHTS = ("tokenizer", "tokenizer_2", "scheduler")
_LIBRARIES = ("diffusers", "transformers", "gamecraft")
_MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library


def embedded_model() -> Path:
    """Folder of the model that comes with the package.

    Raises:
        CheckpointError: this installation has none.
    """
    folder = Path(str(importlib.resources.files("gamecraft"))) / "assets" / "mini"
    if not (folder / "model_index.json").is_file():
        raise CheckpointError("this installation has no embedded model; give a model folder (--model)")
    return folder


def folder_of(model: str | Path | None) -> Path:
    """The folder that was asked for, or the embedded model's for None. Raises CheckpointError as ``embedded_model``."""
    return embedded_model() if model is None else Path(model)


def check_model_folder(model: str | Path | None) -> dict[str, Any]:
    """Look at every file of a model folder without loading it: index, configurations, and sizes of all weights.

    Args:
        model: the folder; the embedded model's if None.

    Returns:
        the values of ``model_index.json``.

    Raises:
        CheckpointError: the first thing that is wrong, naming the file.
    """
    folder = folder_of(model)
    if not folder.is_dir():
        raise CheckpointError(f"there is no model folder {folder}")
    index = installed_index(_read_json(folder / "model_index.json"))
    if index.get("_class_name") != _PIPELINE:
        raise CheckpointError(
            f"{folder / 'model_index.json'} is of a {index.get('_class_name')!r:.60}, expected a GameCraftPipeline"
        )
    optional = [name for name in _OPTIONAL if index.get(name, [None])[0] is not None]
    for name in (*_COMPONENTS, *optional):
        entry = index.get(name)
        if not isinstance(entry, list) or len(entry) != 2 or str(entry[0]).split(".")[0] not in _LIBRARIES:
            raise CheckpointError(f"{folder / 'model_index.json'} has no valid entry for {name!r}: {entry!r:.60}")
        part = folder / name
        if not part.is_dir():
            raise CheckpointError(f"{part} is missing from the model folder")
        for file in sorted(part.glob("*.json")):
            _read_json(file)
        if name not in _WITHOUT_WEIGHTS:
            _read_json(part / "config.json")
            weight_names(part)
    return index


def model_digest(model: str | Path | None) -> str:
    """SHA-256 over names and contents of all configurations and weights of a model folder, the embedded one if None."""
    folder = folder_of(model)
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".txt")):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing from the model folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object; the file is damaged")
    return data


def weight_names(part: Path) -> set[str]:
    """Names of all tensors in a component's folder, after checking the size of its files."""
    return set(weight_sizes(part))


def weight_sizes(part: Path) -> dict[str, int]:
    """How many numbers each tensor in a component's folder has, after checking the size of its files."""
    files = sorted(part.glob("*.safetensors"))
    for index in part.glob("*.safetensors.index.json"):
        listed = {part / str(name) for name in _read_json(index).get("weight_map", {}).values()}
        if missing := sorted(listed - set(files)):
            raise CheckpointError(f"{missing[0]} is missing from the model folder")
    if not files:
        raise CheckpointError(f"{part} holds no .safetensors weights")
    return {name: size for file in files for name, size in _safetensors_sizes(file).items()}


def _safetensors_sizes(path: Path) -> dict[str, int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise CheckpointError(f"{path} is no safetensors file or is cut off ({size} bytes); copy it again")
        try:
            header = json.loads(file.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
            sizes = {name: math.prod(int(side) for side in entry["shape"]) for name, entry in entries.items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise CheckpointError(f"{path} is damaged: its header cannot be read; copy it again") from None
    if 8 + length + end != size:
        raise CheckpointError(f"{path} is cut off: {size} bytes, expected {8 + length + end}; copy it again")
    return sizes
