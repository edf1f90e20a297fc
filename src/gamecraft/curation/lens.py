"""Which part of a recorded picture a camera with another lens in the same place would have shown."""

from gamecraft.intrinsics import Intrinsics

__all__ = ["Box", "lens_window", "square_lens", "window_lens"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the picture; may reach over its edges."""


def lens_window(recorded: Intrinsics, wanted: Intrinsics) -> Box:
    """The window of the ``recorded`` picture that the ``wanted`` lens shows."""
    across, down = recorded.fx / wanted.fx, recorded.fy / wanted.fy
    left, top = recorded.cx - wanted.cx * across, recorded.cy - wanted.cy * down
    return left, top, left + across, top + down


def window_lens(recorded: Intrinsics, window: Box) -> Intrinsics:
    """The lens of what is seen through a window; the inverse of ``lens_window``."""
    width, height = window[2] - window[0], window[3] - window[1]
    return Intrinsics(
        fx=recorded.fx / width,
        fy=recorded.fy / height,
        cx=(recorded.cx - window[0]) / width,
        cy=(recorded.cy - window[1]) / height,
    )


def square_lens(fx: float, width: int, height: int) -> Intrinsics:
    """Square pixels and the optical axis in the middle; ``fx`` in picture widths."""
    return Intrinsics(fx=fx, fy=fx * width / height)
