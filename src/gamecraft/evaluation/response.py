"""Step responses: how soon, and how strongly, an action shows in the motion."""

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError

__all__ = ["delay", "gains"]

Array = npt.NDArray[np.float64]

_GROUPS = (slice(0, 3), slice(3, 5))
_SMALLEST = 1e-6  # metres or radians per frame: below this nothing is commanded
_WINDOW = 3  # frames: a single one is too noisy
_REACHED = 0.5
_REST = (0.2, 0.035)  # metres and radians per frame that a stop is measured by: the suites' speeds


def gains(commanded: Array, seen: Array) -> Array:
    """Share of the commanded motion that is seen in each frame [F]: 1 is exact, 0 nothing, below 0 the wrong way.

    The projection of the seen motion on the commanded one over the latter's size, for walking and turning separately,
    averaged over those of the two that are commanded. Where nothing is commanded, 1 - the size of what is seen in units
    of the suites' speeds (the larger of walking and turning), so that standing still is 1 there.

    Args:
        commanded, seen: motion of each frame [F, 5], metres and radians.
    """
    if commanded.shape != seen.shape or commanded.ndim != 2 or commanded.shape[1] != 5:
        raise InputError(f"motions of shapes {list(commanded.shape)} and {list(seen.shape)} cannot be compared")
    parts = np.full((2, len(seen)), np.nan)
    for part, group in zip(parts, _GROUPS, strict=True):
        size = np.square(commanded[:, group]).sum(axis=1)
        asked = size > _SMALLEST**2
        part[asked] = (commanded[asked, group] * seen[asked, group]).sum(axis=1) / size[asked]
    sizes = np.stack(
        [np.linalg.norm(seen[:, group], axis=1) / rest for group, rest in zip(_GROUPS, _REST, strict=True)]
    )
    asked = ~np.isnan(parts).all(axis=0)
    result = 1 - sizes.max(axis=0)
    result[asked] = np.nanmean(parts[:, asked], axis=0)
    return np.asarray(result)


def delay(gain: Array) -> int:
    """Frames until half of the motion is seen: the first i at which the mean of gains i, i + 1, i + 2 is at least 0.5.

    0 is at once; as many as there are frames if it never happens.
    """
    windows = np.lib.stride_tricks.sliding_window_view(gain, min(_WINDOW, len(gain))).mean(axis=1)
    reached = np.flatnonzero(windows >= _REACHED)
    return int(reached[0]) if len(reached) else len(gain)
