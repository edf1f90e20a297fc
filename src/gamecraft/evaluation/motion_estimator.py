"""Recovers the camera's motion from frames alone, so that a generated video can be asked whether it followed the keys.

No weights: points are followed (``tracking``) and the motion of a walker's camera over level ground is fitted to them
(``motion_fit``). Metres are those of a camera whose height above the ground is known, by default a walker's.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError
from gamecraft.evaluation.camera_motion import compose
from gamecraft.evaluation.motion_fit import View, fit_motion
from gamecraft.evaluation.tracking import follow_points
from gamecraft.intrinsics import Intrinsics

__all__ = ["METHOD", "chosen_frames", "estimate_motion", "estimate_steps"]

METHOD = "plane-and-parallax 2"
"""Name of the method in reports; its number changes when its numbers do."""

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

_HEIGHT, _WIDTH = 96, 160
_BLUR = 0.7  # sigma in pixels: codecs' and samplers' noise misleads the tracking
_EYES = 1.6
_STEP = 3  # frames between two that are compared: parallax shows, and what is followed is still in the picture
_LOWEST_EYES = 0.3


def estimate_motion(
    frames: Frames, *, pitch: float = 0.0, eyes: float = _EYES, intrinsics: Intrinsics | None = None
) -> Array:
    """Motion [5] (right, down, forward in metres, yaw, pitch in radians) from the first to the last frame.

    Args:
        frames: uint8 [F, H, W, 3], at least two; e.g. the last frame of the history and the frames of a chunk.
        pitch: of the first frame's camera, radians, upwards.
        eyes: height of the first frame's camera above the ground, metres.
        intrinsics: the lens; the project's if None.

    Raises:
        InputError: fewer than two frames, another shape, or a camera that is not above the ground.
    """
    return compose(estimate_steps(frames, pitch=pitch, eyes=eyes, intrinsics=intrinsics)[0])


def estimate_steps(
    frames: Frames,
    *,
    pitch: float = 0.0,
    eyes: float = _EYES,
    intrinsics: Intrinsics | None = None,
    step_frames: int = _STEP,
) -> tuple[Array, npt.NDArray[np.intp]]:
    """As ``estimate_motion``, step by step, of about ``step_frames`` frames each.

    Returns:
        motions [S, 5] and the frames [S + 1] between which they lie, the first and the last included.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2:
        raise InputError(f"motion takes at least two frames [F, H, W, 3], received shape {list(frames.shape)}")
    if not (math.isfinite(pitch) and math.isfinite(eyes) and eyes > 0):
        raise InputError(
            f"the camera's height is {eyes:g} m and its pitch {pitch:g}; expected numbers, above the ground"
        )
    chosen = chosen_frames(len(frames), step_frames)
    grey = [_grey(frames[number]) for number in chosen]
    motions: list[Array] = []
    for first, second in itertools.pairwise(grey):
        if np.array_equal(first, second):  # a frozen picture is no motion, not noise that an alignment could enlarge
            motions.append(np.zeros(5))
            continue
        view = View(height=_HEIGHT, width=_WIDTH, lens=intrinsics or Intrinsics(), pitch=pitch, eyes=eyes)
        motions.append(fit_motion(follow_points(first, second), view))
        pitch += float(motions[-1][4])
        eyes = max(_LOWEST_EYES, eyes - float(motions[-1][1]))
    return np.stack(motions), chosen


def chosen_frames(frames: int, step_frames: int = _STEP) -> npt.NDArray[np.intp]:
    """The numbers [S + 1] of the frames that are compared: as evenly as whole frames allow, first and last included."""
    steps = max(1, round((frames - 1) / step_frames))
    return np.linspace(0, frames - 1, steps + 1).round().astype(np.intp)


def _grey(frame: Frames) -> Frames:
    """A frame of any size as a slightly blurred grey picture [96, 160]."""
    import cv2

    if frame.shape[:2] != (_HEIGHT, _WIDTH):
        frame = cv2.resize(frame, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR))
