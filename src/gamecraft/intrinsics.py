"""The lens: focal lengths and principal point, normalised by the picture's size."""

import math
from dataclasses import dataclass

from gamecraft.errors import InputError

__all__ = ["Intrinsics"]


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """A pinhole camera without distortion, for a picture of any size.

    The defaults are the published ones and hold for every renderer and model of the project.

    Attributes:
        fx, cx: focal length and principal point in picture widths.
        fy, cy: focal length and principal point in picture heights.

    Raises:
        InputError: a value is not finite or a focal length is not positive.
    """

    fx: float = 0.50505
    fy: float = 0.8979
    cx: float = 0.5
    cy: float = 0.5

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.fx, self.fy, self.cx, self.cy))) or self.fx <= 0 or self.fy <= 0:
            raise InputError(f"intrinsics need finite numbers and focal lengths above 0, received {self}")
