"""Pictures from outside in the size of a model, and frames between bytes and networks."""

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gamecraft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Picture", "fit_picture", "open_picture", "to_frames", "to_video"]

Picture = Image.Image | NDArray[np.uint8]
"""A PIL image, or uint8 [H, W, 3]."""


def open_picture(path: str | Path | IO[bytes], *, formats: tuple[str, ...] | None = None) -> Image.Image:
    """The RGB image of a file, turned as its camera says; transparent parts become white.

    Args:
        formats: names of the formats that are accepted, all that PIL can read if None.

    Raises:
        InputError: there is no such file, or it is no image, is damaged or far too large.
    """
    try:
        with warnings.catch_warnings():
            # A picture of 90 megapixels is unusual but harmless: it is scaled down at once.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                return _rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise InputError(f"no image at {path}") from None
    except UnidentifiedImageError:
        raise InputError(f"{_name(path)} is not an image; give a PNG or JPEG file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{_name(path)} cannot be read as an image: {error}") from None


def fit_picture(picture: Picture, height: int, width: int) -> NDArray[np.uint8]:
    """Scale a picture until it covers height x width pixels and cut out its centre, without a border.

    Returns:
        uint8 [height, width, 3]; a picture that already has the size keeps its values.

    Raises:
        InputError: an array is not uint8 [H, W, 3].
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise InputError(f"received an image {picture.dtype} {list(picture.shape)}; expected uint8 [H, W, 3]")
        picture = Image.fromarray(np.ascontiguousarray(picture))
    return np.array(ImageOps.fit(_rgb(picture), (width, height), Image.Resampling.BICUBIC))


def to_video(frames: "NDArray[np.uint8] | Tensor") -> "Tensor":
    """Frames uint8 [F, H, W, 3] or [B, F, H, W, 3] as a network's video [B or 1, 3, F, H, W], float32 in [-1, 1]."""
    import torch

    batch = torch.as_tensor(frames)
    batch = batch if batch.ndim == 5 else batch[None]
    return batch.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def to_frames(video: "Tensor") -> NDArray[np.uint8]:
    """A network's video [1, 3, F, H, W] in about [-1, 1] as frames uint8 [F, H, W, 3], rounded."""
    import torch

    values = video[0].permute(1, 2, 3, 0).float().clamp(-1, 1).add(1).mul(127.5)
    return values.round().to(torch.uint8).cpu().numpy()


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # PIL would cut off the values above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _name(path: str | Path | IO[bytes]) -> str:
    return str(path) if isinstance(path, str | Path) else "the picture"
