"""Playing chunk by chunk, as values: where the play stands, and how the actions of a chunk move the walker.

A state is all that the next chunk depends on beside actions, prompt and settings. The noise of a chunk follows from the
seed and the chunk's index alone, so a state that is kept can be continued at any time with the same result.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gamecraft.actions import Action, key_motion, smooth
from gamecraft.controls import MAX_FRAMES
from gamecraft.errors import ActionError, InputError
from gamecraft.history import History
from gamecraft.trajectory import CameraState, integrate

__all__ = ["MAX_SEED", "Chunk", "PlaySettings", "PlayState", "chunk_generator", "in_chunks", "walk", "whole_chunk"]

MAX_SEED = 2**64 - 1
_MAX_STEPS = 1000
_MAX_GUIDANCE = 50.0


@dataclass(frozen=True, kw_only=True)
class PlaySettings:
    """What stays the same for all chunks of a play.

    Attributes:
        seed: of all noise, 0 to ``MAX_SEED``.
        num_inference_steps: denoising steps per chunk.
        guidance_scale: above 1 strengthens prompt and actions and doubles the work; 1 is no guidance.
        smoothing: how slowly the keys take effect, see ``gamecraft.actions.smooth``.

    Raises:
        InputError: a number is out of range.
    """

    seed: int = 0
    num_inference_steps: int
    guidance_scale: float
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_whole("the seed", self.seed, 0, MAX_SEED)
        _check_whole("the number of steps", self.num_inference_steps, 1, _MAX_STEPS)
        _check_number("the guidance scale", self.guidance_scale, 1.0, _MAX_GUIDANCE)
        _check_number("smoothing", self.smoothing, 0.0, math.nextafter(1.0, 0.0))

    @property
    def guided(self) -> bool:
        """Whether each step also needs a velocity without prompt and actions."""
        return self.guidance_scale > 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class PlayState:
    """Where a play stands; never changed in place.

    Attributes:
        history: what the next chunk follows on, in the world's coordinates.
        camera: the walker after the last frame.
        index: number of the next chunk, from 0.
        velocity: smoothed key motion [5] of the last frame, metres and radians per frame.
    """

    history: History
    camera: CameraState = field(default_factory=CameraState)
    index: int = 0
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """One chunk as it is shown; the last one of a script is cut to the frames that were asked for.

    Attributes:
        index: number of the chunk, from 0.
        frames: uint8 [F, H, W, 3], or what the output type asked for: a float tensor [F, 3, H, W] in [0, 1] ("pt"), a
            list of PIL images ("pil"), None ("latent").
        latents: [1, C, t, h, w] of the whole chunk, VAE latents * scaling_factor.
        poses: [F, 4, 4] camera-to-world in the world after each frame's action, metres.
        actions: F actions.
        seconds: computing time.
    """

    index: int
    frames: Any
    latents: Tensor
    poses: NDArray[np.float64]
    actions: tuple[Action, ...]
    seconds: float


def walk(
    state: PlayState, actions: Sequence[Action], smoothing: float
) -> tuple[NDArray[np.float64], CameraState, NDArray[np.float64]]:
    """Poses [F, 4, 4] of F actions from a state on, the camera after them, and the smoothed key motion [5] at the end.

    Chunks walked one after the other give the poses of ``integrate(motion(all actions, smoothing))`` bit for bit.
    """
    rows = smooth(key_motion(actions), smoothing, state.velocity)
    velocity = rows[-1].copy()
    rows[:, 3:] += np.array([action.look for action in actions])  # the mouse is never smoothed
    poses, camera = integrate(rows, state.camera)
    return poses, camera, velocity


def in_chunks(actions: Sequence[Action], chunk_frames: int) -> Iterator[tuple[Action, ...]]:
    """Actions in tuples of ``chunk_frames``, the last one possibly shorter.

    Raises:
        ActionError: there are no actions, or more than ``MAX_FRAMES``.
    """
    if not 1 <= len(actions) <= MAX_FRAMES:
        raise ActionError(f"received {len(actions)} actions, expected 1 to {MAX_FRAMES}, one per frame")
    return (tuple(actions[i : i + chunk_frames]) for i in range(0, len(actions), chunk_frames))


def whole_chunk(actions: Sequence[Action], chunk_frames: int) -> list[Action]:
    """The actions of a chunk of which at most ``chunk_frames`` are asked for: the rest of it is idle."""
    return [*actions, *[Action()] * (chunk_frames - len(actions))]


def chunk_generator(seed: int, index: int) -> torch.Generator:
    """The source of noise of chunk ``index`` of a play: the same whatever was drawn before."""
    mixed = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, expected a whole number from {low} to {high}")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, expected a number from {low:g} to {high:g}")
