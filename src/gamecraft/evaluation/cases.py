"""Cases: where a rollout starts, what is done in it, and the truth.

All worlds are held out (their seeds are never trained on). Where a rollout starts is chosen so that nothing stands in
the way and the true camera does what it is told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gamecraft.actions import Action, motion
from gamecraft.errors import InputError
from gamecraft.evaluation.models import Start, world_of
from gamecraft.evaluation.signals import Signal, held
from gamecraft.trajectory import CameraState, integrate
from gamecraft.worlds.builder import PLAY_RADIUS
from gamecraft.worlds.captions import captions
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.players import random_actions
from gamecraft.worlds.themes import THEMES

__all__ = ["FIRST_SEED", "MAX_SEED", "Case", "case_name", "make_case"]

FIRST_SEED = 1_500_000
"""World of the first start; start i of seed s is in world FIRST_SEED + 10,000 s + i, themes in turn."""
MAX_SEED = 40
_PER_SEED = 10_000

_CLEARANCE = 0.9  # metres from a walker's centre to the nearest obstacle; the body's own radius is half of it
_ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One rollout of K chunks of F frames.

    Attributes:
        start: history and place.
        actions: F actions for each chunk.
        poses: [K, F, 4, 4], camera-to-world, after each action.
        frames: uint8 [K, F, H, W, 3], the truth; None if there is none.
        returns: whether the second half of the camera's path is the first one backwards.
    """

    start: Start
    actions: tuple[tuple[Action, ...], ...]
    poses: npt.NDArray[np.float64]
    frames: npt.NDArray[np.uint8] | None
    returns: bool = False


def case_name(number: int, signal: str) -> str:
    """Name of a case in files: letters, digits, - and _ only."""
    return f"start{number:03d}-{signal.replace('+', '_').replace(' ', '-')}"


def make_case(
    number: int,
    name: str,
    *,
    chunks: int,
    chunk_frames: int,
    height: int,
    width: int,
    signal: Signal | None = None,
    seed: int = 0,
) -> Case:
    """Start ``number`` (from 0) of signal ``name``, with the rendered truth of all its chunks.

    The history is one chunk. Start, history and truth depend on the arguments alone.

    Args:
        signal: holding the keys in ``name``, joined by +, if None.
        seed: of the worlds, 0 to ``MAX_SEED``.

    Raises:
        InputError: the world has no place with enough room for so long a walk, or there and back are not equally long.
    """
    signal = signal or Signal(keys=name)
    if signal.returns and chunks % 2:
        raise InputError(f"{name} goes there and back; {chunks} chunks have no middle, give an even number (--chunks)")
    theme = list(THEMES)[number % len(THEMES)]
    world = world_of(FIRST_SEED + _PER_SEED * seed + number, theme, height, width)
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([world.scene.seed, *name.encode(), attempt])
        spawn = world.spawn(rng)
        history = _history(signal, chunk_frames - 1, rng)
        pitch = integrate(motion(history), spawn)[1].pitch
        actions = tuple((action,) * chunk_frames for action in signal.schedule(chunks, chunk_frames, pitch))
        script = [*history, *(action for chunk in actions for action in chunk)]
        if not _has_room(world, spawn, script):
            continue
        recorded = _record(world, spawn, script, frame=int(rng.integers(0, 4000)))
        if recorded is None:
            continue
        frames, states, clock = recorded
        poses = np.stack([state.pose() for state in states])
        start = Start(
            name=case_name(number, name),
            frames=frames[:chunk_frames],
            poses=poses[:chunk_frames],
            prompt=captions(world.scene.description, world.scene.seed)[0],
            seed=world.scene.seed,
            state=states[chunk_frames - 1],
            world_seed=world.scene.seed,
            theme=theme,
            frame=clock + chunk_frames - 1,
        )
        return Case(
            start=start,
            actions=actions,
            poses=poses[chunk_frames:].reshape(chunks, chunk_frames, 4, 4),
            frames=frames[chunk_frames:].reshape(chunks, chunk_frames, height, width, 3),
            returns=signal.returns,
        )
    raise InputError(
        f"world {world.scene.seed} has no room for {chunks} chunks of {name}; ask for fewer chunks (--chunks)"
    )


def _history(signal: Signal, frames: int, rng: np.random.Generator) -> list[Action]:
    return random_actions(frames, rng) if signal.history is None else [held(signal.history)] * frames


def _has_room(world: LowPolyWorld, spawn: CameraState, script: Sequence[Action]) -> bool:
    """Whether the walk stays clear of obstacles and of the edge; much cheaper than trying it."""
    ground = integrate(motion(script), spawn)[0][:, [0, 2], 3]
    if (np.linalg.norm(ground, axis=1) > PLAY_RADIUS - _CLEARANCE).any():
        return False
    x, z, radius = np.array(world.scene.obstacles or [(0.0, 0.0, -math.inf)]).T
    distance = np.hypot(ground[:, :1] - x, ground[:, 1:] - z)
    return bool((distance >= radius + _CLEARANCE).all())


def _record(
    world: LowPolyWorld, spawn: CameraState, script: Sequence[Action], frame: int
) -> tuple[npt.NDArray[np.uint8], list[CameraState], int] | None:
    """Frames and states from the spawn on, and the first one's clock; None if the walker was stopped after all."""
    pictures, states = [world.reset(spawn, frame)], [world.state]
    for action in script:
        pictures.append(world.step(action))
        states.append(world.state)
        if world.blocked:
            return None
    return np.stack(pictures), states, frame
