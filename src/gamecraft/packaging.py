"""Model folders that the installed package and the generic loader of diffusers both understand.

``GameCraftPipeline.from_pretrained(folder)`` runs no code of the folder. For everybody else the folder holds one-line
modules that import our classes from the installed package, so that ``DiffusionPipeline.from_pretrained(folder,
trust_remote_code=True)`` loads it, also from the Hub, which accepts no other module names.
"""

import json
from pathlib import Path
from typing import Any, Self

from huggingface_hub import snapshot_download

__all__ = ["PackagedPipeline", "installed_index", "pack_folder"]

# Our classes that can appear in a model_index.json -> where they are.
CLASSES = {
    "GameCraftPipeline": "gamecraft.pipeline",
    "GameCraftTransformer3DModel": "gamecraft.models.transformer",
    "AutoencoderPatchCode": "gamecraft.models.autoencoder",
    "DepthEstimator": "gamecraft.models.depth",
    "FrameRefiner": "gamecraft.models.refiner",
}
PIPELINE_MODULE = "pipeline"
COMPONENT_MODULE = "modeling"


def pack_folder(folder: Path) -> None:
    """Give a saved pipeline its one-line modules, and name them in its ``model_index.json``."""
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    index.pop("_name_or_path", None)  # where it was loaded from, on this machine
    for part in folder.glob("*/config.json"):
        config = json.loads(part.read_text())
        if config.pop("_name_or_path", None) is not None:
            part.write_text(json.dumps(config, indent=2) + "\n")
    _write_module(folder / f"{PIPELINE_MODULE}.py", "GameCraftPipeline")
    index["_class_name"] = [PIPELINE_MODULE, "GameCraftPipeline"]
    for component, value in index.items():
        if component != "_class_name" and isinstance(value, list) and value[1] in CLASSES:
            _write_module(folder / component / f"{COMPONENT_MODULE}.py", value[1])
            index[component] = [COMPONENT_MODULE, value[1]]
    file.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _write_module(file: Path, name: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'"""Imported by diffusers; needs `pip install gamecraft`."""\n\n'
        f"from {CLASSES[name]} import {name}\n\n"
        f'__all__ = ["{name}"]\n'
    )


def installed_index(index: dict[str, Any]) -> dict[str, Any]:
    """A ``model_index.json`` with the modules of the installed package instead of those of the folder."""
    if isinstance(index.get("_class_name"), list):
        index["_class_name"] = index["_class_name"][1]
    return {
        name: [CLASSES[value[1]], value[1]] if isinstance(value, list) and value[1] in CLASSES else value
        for name, value in index.items()
    }


class PackagedPipeline:
    """A base before ``DiffusionPipeline``: loads and saves such folders."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **arguments: Any) -> Self:
        """Load a folder, or a repository of the Hub, with the classes of the installed package.

        The arguments are those of ``DiffusionPipeline.from_pretrained``.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            names = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies")
            download = {name: arguments.pop(name) for name in names if name in arguments}
            folder = Path(snapshot_download(str(pretrained_model_name_or_path), **download))
        pipeline: Self = super().from_pretrained(folder, **arguments)  # type: ignore[misc]
        return pipeline

    @classmethod
    def load_config(cls, *arguments: Any, **keywords: Any) -> Any:
        """The ``model_index.json``, naming modules of the installed package."""
        found = super().load_config(*arguments, **keywords)  # type: ignore[misc]
        return (installed_index(found[0]), *found[1:]) if isinstance(found, tuple) else installed_index(found)

    def save_config(self, save_directory: str | Path, **arguments: Any) -> None:
        """The last step of saving a pipeline, before it goes to the Hub: ``model_index.json`` and our modules."""
        super().save_config(save_directory, **arguments)  # type: ignore[misc]
        pack_folder(Path(save_directory))
