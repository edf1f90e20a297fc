"""Start pictures from outside: decoded safely, kept for a day in the model's size."""

import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gamecraft.files import write_atomically
from gamecraft.pictures import open_picture
from gamecraft.serving.encoding import decode_upload
from gamecraft.serving.ids import is_id, new_id
from gamecraft.serving.store import UnknownIdError

__all__ = ["UploadStore"]

_DAY = 24 * 3600


class UploadStore:
    """Pictures in a folder, by id; beyond ``max_uploads`` the oldest are removed."""

    def __init__(self, folder: Path, *, max_pixels: int, max_uploads: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._max_pixels, self._max_uploads = folder, max_pixels, max_uploads

    def add(self, content: bytes, *, height: int, width: int) -> str:
        """Keep a picture, scaled and cut to height x width pixels; returns its id.

        Raises:
            InputError: it is not a PNG, JPEG or WebP, is damaged, or has too many pixels.
        """
        picture = decode_upload(content, max_pixels=self._max_pixels, height=height, width=width)
        self._make_place()
        buffer = BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        id = new_id()
        with write_atomically(self._folder / f"{id}.png") as temporary:
            temporary.write_bytes(buffer.getvalue())
        return id

    def path(self, id: str) -> Path:
        """The PNG file of an upload. Raises UnknownIdError."""
        path = self._folder / f"{id}.png"
        if not is_id(id) or not path.is_file():
            raise UnknownIdError("there is no such upload; it may be older than a day")
        return path

    def read(self, id: str) -> NDArray[np.uint8]:
        """An upload as uint8 [H, W, 3]. Raises UnknownIdError."""
        return np.array(open_picture(self.path(id)))

    def _make_place(self) -> None:
        changed: list[tuple[float, Path]] = []
        for path in self._folder.glob("*.png"):
            with suppress(FileNotFoundError):  # another replica was faster
                changed.append((path.stat().st_mtime, path))
        oldest = time.time() - _DAY
        for index, (when, path) in enumerate(sorted(changed)):
            if index <= len(changed) - self._max_uploads or when < oldest:
                path.unlink(missing_ok=True)
