"""The log of a run for people who watch it: TensorBoard and, where they are installed and asked for, trackio or wandb.

They show what `log.jsonl` has, through accelerate's trackers; the JSON lines stay the record that resuming relies on.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from PIL import Image

from gamecraft.errors import InputError

__all__ = ["TrackerName", "Trackers", "check_trackers", "project"]

TrackerName = Literal["tensorboard", "trackio", "wandb"]
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}
_FOLDER = "trackers"


def check_trackers(names: Sequence[TrackerName]) -> None:
    """InputError if a tracker's package is not installed; accelerate would leave it out without a word."""
    for name in names:
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise InputError(
                f"trackers has {name!r}, whose package is not installed: pip install {_PACKAGES[name][-1]}, or take it "
                "out of the recipe"
            )


def project(folder: Path) -> ProjectConfiguration:
    """Where accelerate puts what its trackers write."""
    return ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder))


class Trackers:
    """The trackers of an accelerator that was made with ``log_with`` and ``project``.

    They do nothing before the start, and in all processes but the main one.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def start(self, step: int) -> None:
        """Begin, or go on at a step; what a killed run has logged beyond it disappears from TensorBoard."""
        self._accelerator.init_trackers(_FOLDER, init_kwargs={"tensorboard": {"purge_step": step + 1}})

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Numbers of a step; nested mappings become names with a slash, anything else is left out."""
        self._accelerator.log(dict(_flat(values)), step=step)

    def picture(self, name: str, file: Path, step: int) -> None:
        """A picture file, if it exists."""
        if not file.is_file():
            return
        pixels = np.asarray(Image.open(file).convert("RGB"))
        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({name: pixels[None]}, step=step, dataformats="NHWC")
            elif hasattr(tracker, "log_images"):
                tracker.log_images({name: [pixels]}, step=step)

    def close(self) -> None:
        """Write what is waiting; accelerate's own end would part the processes, which another run may follow."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append(((prefix + name).replace("@", "_"), float(value)))  # TensorBoard's names have no @
    return found
