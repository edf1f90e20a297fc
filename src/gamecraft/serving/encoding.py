"""Pictures to bytes and back, as they go over the network."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gamecraft.errors import InputError
from gamecraft.pictures import fit_picture, open_picture
from gamecraft.serving.frames import PictureFormat

__all__ = ["decode_upload", "encode_picture"]

_FORMATS = ("PNG", "JPEG", "WEBP")


def encode_picture(frame: NDArray[np.uint8], form: PictureFormat, quality: int) -> bytes:
    """A frame uint8 [H, W, 3] as JPEG or WebP."""
    buffer = io.BytesIO()
    image = Image.fromarray(frame)
    if form is PictureFormat.WEBP:
        image.save(buffer, "WEBP", quality=quality, method=2)
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling=0)  # small pictures suffer from subsampled colour
    return buffer.getvalue()


def decode_upload(content: bytes, *, max_pixels: int, height: int, width: int) -> NDArray[np.uint8]:
    """An uploaded picture as uint8 [height, width, 3]; its size is checked before anything is decoded.

    Raises:
        InputError: it is not a PNG, JPEG or WebP, is damaged, or has too many pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            pixels = image.width * image.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError("the upload is not a PNG, JPEG or WebP picture") from None
    if pixels > max_pixels:
        raise InputError(f"the picture has {pixels} pixels, expected at most {max_pixels}")
    return fit_picture(open_picture(io.BytesIO(content), formats=_FORMATS), height, width)
