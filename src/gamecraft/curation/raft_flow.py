"""RAFT as a plug-in for optical flow: ``--set measure.flow=gamecraft.curation.raft_flow:flow``.

Teed, Deng 2020, arXiv 2003.12039, by torchvision, which fetches its weights or finds them in torch's cache.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.extras import require

__all__ = ["flow"]

_SCALE = 2  # it looks for coarse motion at a 64th of the size, where little is left of small pictures
_MULTIPLE, _LEAST = 8, 128


def flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical flow in pixels, [H, W, 2], of grey pictures uint8 [H, W]; interface as ``measure.dis_flow``.

    Raises:
        GameCraftError: torchvision is not installed.
    """
    import cv2
    import torch

    model, device = _model()
    height, width = before.shape
    tall, wide = (max(_LEAST, round(_SCALE * side / _MULTIPLE) * _MULTIPLE) for side in (height, width))
    pictures = np.stack([cv2.resize(grey, (wide, tall), interpolation=cv2.INTER_LINEAR) for grey in (before, after)])
    inputs = torch.from_numpy(pictures).to(device).float()[:, None, None].expand(2, 1, 3, tall, wide) / 127.5 - 1
    with torch.inference_mode():
        found = model(*inputs)[-1][0].permute(1, 2, 0).cpu().numpy()
    moved = cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA) * (width / wide, height / tall)
    return np.asarray(moved, dtype=np.float32)


@functools.cache
def _model() -> tuple[Any, str]:
    import torch

    library = require("torchvision.models.optical_flow", "RAFT", "torchvision")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return library.raft_small(weights=library.Raft_Small_Weights.DEFAULT).to(device).eval(), device
