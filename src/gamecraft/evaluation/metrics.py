"""Picture metrics of a generated clip against the true one, as pure functions of uint8 frames [F, H, W, 3]."""

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError

__all__ = ["bootstrap_interval", "psnr", "sharpness", "ssim"]

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

_WINDOW, _SIGMA = 11, 1.5
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def psnr(truth: Frames, frames: Frames) -> Array:
    """Peak signal-to-noise ratio of each frame in decibels, [F]; infinite where the frames are equal.

    10 log10(255^2 / mean squared error) over all pixels and channels (ITU-T J.340).
    """
    a, b = _pair(truth, frames)
    error = np.square(a - b).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / error))


def ssim(truth: Frames, frames: Frames) -> Array:
    """Structural similarity of each frame's luma, [F], at most 1 (equal).

    Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity",
    with the paper's Gaussian window (11 pixels, sigma 1.5) and constants (0.01, 0.03), averaged over the positions at
    which the window fits into the frame.
    """
    import cv2

    def mean(values: Array) -> Array:
        blurred = cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA)
        margin = _WINDOW // 2
        return np.asarray(blurred[margin:-margin, margin:-margin])

    if min(truth.shape[1:3]) < _WINDOW:
        raise InputError(f"the frames have shape {list(truth.shape)}; SSIM needs at least {_WINDOW} pixels a side")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for x, y in zip(*(clip @ _LUMA for clip in _pair(truth, frames)), strict=True):
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
        similarity = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
        values.append(similarity.mean())
    return np.array(values)


def sharpness(truth: Frames, frames: Frames) -> float:
    """Gradient energy of the clip over that of the true one: 1 is as sharp, below 1 blurred, above 1 noisy.

    Energy: the squared differences of neighbouring pixels, summed over the clip. It says nothing about *where* the
    edges are: read it beside PSNR, which a blurred guess flatters.
    """
    a, b = _pair(truth, frames)
    return (_gradient_energy(b) + 1e-9) / (_gradient_energy(a) + 1e-9)


def bootstrap_interval(
    values: npt.ArrayLike, *, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979).

    Args:
        values: one number per independent unit, here per start image: the chunks and actions that share a start are
            not independent and must be averaged before.
        level: share of resampled means within the interval.
        samples: resamples. seed: of the resampling; equal calls give equal intervals.

    Returns:
        lower and upper end; both the value itself if there is only one.

    Raises:
        InputError: no values.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise InputError(f"a bootstrap needs a list of values, received shape {list(data.shape)}")
    chosen = np.random.default_rng(seed).integers(len(data), size=(samples, len(data)))
    low, high = np.quantile(data[chosen].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _gradient_energy(clip: Array) -> float:
    return float(np.square(np.diff(clip, axis=1)).sum() + np.square(np.diff(clip, axis=2)).sum())


def _pair(truth: Frames, frames: Frames) -> tuple[Array, Array]:
    if truth.shape != frames.shape or truth.ndim != 4 or not len(truth):
        raise InputError(
            f"frames of shape {list(frames.shape)} cannot be compared with the truth's {list(truth.shape)}; "
            "expected [F, H, W, 3] for both"
        )
    return truth.astype(np.float64), frames.astype(np.float64)
