"""Start pictures and frames with exactly the values of the published code, for ``Compatibility.published_pictures``."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gamecraft.pictures import Picture

__all__ = ["published_fit", "published_frames"]


def published_fit(picture: Picture, height: int, width: int) -> NDArray[np.uint8]:
    """Scale a picture to cover height x width, its sides cut to whole pixels, and take the middle.

    A side that comes out a pixel short is filled up with black.

    Returns:
        uint8 [height, width, 3].
    """
    image = (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).convert("RGB")
    factor = max(height / image.height, width / image.width)
    size = (int(image.width * factor), int(image.height * factor))
    scaled = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    missing = [max(0, wanted - found) for wanted, found in zip((height, width), scaled.shape[:2], strict=True)]
    padded = np.pad(scaled, [*((gap // 2, gap - gap // 2) for gap in missing), (0, 0)])
    top, left = (round((found - wanted) / 2) for wanted, found in zip((height, width), padded.shape[:2], strict=True))
    return np.ascontiguousarray(padded[top : top + height, left : left + width])


def published_frames(video: Tensor) -> NDArray[np.uint8]:
    """A network's video [1, 3, F, H, W] in about [-1, 1] as frames uint8 [F, H, W, 3], cut instead of rounded."""
    values = video[0].permute(1, 2, 3, 0).float().div(2).add(0.5).clamp(0, 1).mul(255)
    return values.to(torch.uint8).cpu().numpy()
