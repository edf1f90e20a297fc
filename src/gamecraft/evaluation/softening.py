"""The truth, made as soft as a model: what an estimator sees of motion that is right in pictures that are not sharp."""

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.metrics import sharpness

__all__ = ["soften"]

Frames = npt.NDArray[np.uint8]

_WIDEST = 16.0  # pixels
_HALVINGS = 9
_SAMPLED = 4  # every so many frames are looked at to find the width


def soften(truth: Frames, wanted: float) -> Frames:
    """Frames uint8 [F, H, W, 3] under the Gaussian blur that gives them a ``sharpness`` (below 1) of ``wanted``.

    Without blur from 1 on; at most a blur of 16 pixels.
    """
    if wanted >= 1:
        return truth
    sample = truth[::_SAMPLED]
    low, high = 0.0, _WIDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if sharpness(sample, _blurred(sample, middle)) > wanted else (low, middle)
    return _blurred(truth, high)


def _blurred(frames: Frames, sigma: float) -> Frames:
    import cv2

    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])
