"""The start pictures that come with the package: views of held-out low-poly worlds, one per theme."""

import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gamecraft.trajectory import CameraState

__all__ = ["INDEX_NAME", "GalleryPicture", "gallery", "gallery_picture"]

INDEX_NAME = "gallery.json"


@dataclass(frozen=True, kw_only=True)
class GalleryPicture:
    """A start picture and the exact view it shows, so that the true continuation can be rendered.

    Attributes:
        name: by which it is chosen.
        path: the PNG file.
        theme, world_seed: of the ``gamecraft.worlds.environment.LowPolyWorld``.
        frame: index of the picture in the world's time.
        camera: the walker in the world.
        caption_short, caption_long: of the world; the long one is the prompt if there is no other.
    """

    name: str
    path: Path
    theme: str
    world_seed: int
    frame: int
    camera: CameraState
    caption_short: str
    caption_long: str

    def to_json(self) -> dict[str, Any]:
        """The picture's entry in the index; ``path`` as the file's name."""
        return asdict(self) | {"path": self.path.name}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], folder: Path) -> "GalleryPicture":
        """The inverse of ``to_json`` for a gallery in ``folder``."""
        camera = dict(entry["camera"])
        camera["position"] = tuple(camera["position"])
        return cls(**{**entry, "path": folder / entry["path"], "camera": CameraState(**camera)})


@cache
def gallery(folder: Path | None = None) -> Mapping[str, GalleryPicture]:
    """All pictures of a gallery folder by name; of the package's own if None."""
    folder = folder or Path(str(importlib.resources.files("gamecraft"))) / "assets" / "gallery"
    entries = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))["pictures"]
    pictures = (GalleryPicture.from_json(entry, folder) for entry in entries)
    return {picture.name: picture for picture in pictures}


def gallery_picture(name: str) -> GalleryPicture | None:
    """The picture of that name, or None."""
    return gallery().get(name)
