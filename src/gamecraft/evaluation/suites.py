"""Evaluation suites: which worlds, starts and actions; fixed, so that numbers can be compared from model to model.

All worlds are held out (their seeds are never trained on). A rollout holds one action, or one combination, for its
whole length; where it starts is chosen so that nothing stands in the way and the true camera does what it is told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gamecraft.actions import Action, Key, motion
from gamecraft.errors import InputError
from gamecraft.evaluation.models import Start, world_of
from gamecraft.trajectory import CameraState, integrate
from gamecraft.worlds.builder import PLAY_RADIUS
from gamecraft.worlds.captions import captions
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.players import random_actions
from gamecraft.worlds.themes import THEMES

__all__ = ["FIRST_SEED", "SUITES", "Case", "Suite", "make_case", "suite_named"]

FIRST_SEED = 1_500_000
"""World of the first start; start i is in world FIRST_SEED + i, themes in turn."""

_MOVE_SPEED = 0.2  # metres per frame
_TURN_SPEED = math.radians(2)  # per frame
_TILT_SPEED = math.radians(1)
_MAX_TILT = math.radians(20)
_CLEARANCE = 0.9  # metres from a walker's centre to the nearest obstacle; the body's own radius is half of it
_ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True)
class Suite:
    """``rows``: what is measured beside one another; see ``gamecraft.evaluation.scoring``."""

    name: str
    rows: tuple[str, ...] = ("model", "idle", "freeze", "vae", "truth")
    actions: tuple[str, ...] = ("w", "s", "a", "d", "left", "right", "up", "down", "w+left", "w+d")
    starts: int = 12


SUITES = {
    suite.name: suite
    for suite in (
        Suite(name="quick"),
        Suite(name="full", starts=48),
        Suite(name="vae", rows=("vae",), actions=("w", "right", "w+left")),
    )
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One rollout: a start, an action per chunk, and the truth: frames [K, F, H, W, 3], poses [K, F, 4, 4]."""

    start: Start
    actions: tuple[Action, ...]
    frames: npt.NDArray[np.uint8]
    poses: npt.NDArray[np.float64]


def suite_named(name: str) -> Suite:
    """The suite of that name; InputError if there is none."""
    if name not in SUITES:
        raise InputError(f"unknown suite {name!r}; the suites are {', '.join(SUITES)}")
    return SUITES[name]


def make_case(number: int, name: str, *, chunks: int, chunk_frames: int, height: int, width: int) -> Case:
    """Start ``number`` (from 0) of action ``name`` (keys joined by +), with the rendered truth of all its chunks.

    The history is random play of one chunk. Start, history and truth depend on the arguments alone.

    Raises:
        InputError: the world has no place with enough room for so long a walk.
    """
    theme = list(THEMES)[number % len(THEMES)]
    world = world_of(FIRST_SEED + number, theme, height, width)
    keys = frozenset(Key(key) for key in name.split("+"))
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([world.scene.seed, *name.encode(), attempt])
        spawn = world.spawn(rng)
        history = random_actions(chunk_frames - 1, rng)
        state = integrate(motion(history), spawn)[1]
        actions = _schedule(keys, chunks, chunk_frames, state.pitch)
        script = history + [action for action in actions for _ in range(chunk_frames)]
        if not _has_room(world, spawn, script):
            continue
        case = _record(world, spawn, script, actions, frame=int(rng.integers(0, 4000)))
        if case is not None:
            return case
    raise InputError(
        f"world {world.scene.seed} has no room for {chunks} chunks of {name}; ask for fewer chunks (--chunks)"
    )


def _schedule(keys: frozenset[Key], chunks: int, chunk_frames: int, pitch: float) -> tuple[Action, ...]:
    """The action of each chunk: always ``keys``, but up and down take turns before the camera leaves the horizon."""
    if not keys & {Key.UP, Key.DOWN}:
        return (Action(keys=keys, move_speed=_MOVE_SPEED, turn_speed=_TURN_SPEED),) * chunks
    sign = 1 if Key.UP in keys else -1
    actions = []
    for _ in range(chunks):
        step = _TILT_SPEED * chunk_frames
        if abs(pitch + sign * step) > max(_MAX_TILT, abs(pitch)):
            sign = -sign
        pitch += sign * step
        actions.append(Action(keys=frozenset({Key.UP if sign > 0 else Key.DOWN}), turn_speed=_TILT_SPEED))
    return tuple(actions)


def _has_room(world: LowPolyWorld, spawn: CameraState, script: Sequence[Action]) -> bool:
    """Whether the walk stays clear of obstacles and of the edge; much cheaper than trying it."""
    ground = integrate(motion(script), spawn)[0][:, [0, 2], 3]
    if (np.linalg.norm(ground, axis=1) > PLAY_RADIUS - _CLEARANCE).any():
        return False
    x, z, radius = np.array(world.scene.obstacles or [(0.0, 0.0, -math.inf)]).T
    distance = np.hypot(ground[:, :1] - x, ground[:, 1:] - z)
    return bool((distance >= radius + _CLEARANCE).all())


def _record(
    world: LowPolyWorld, spawn: CameraState, script: Sequence[Action], actions: tuple[Action, ...], frame: int
) -> Case | None:
    """Walk and render; None if the walker was stopped after all."""
    pictures, states = [world.reset(spawn, frame)], [world.state]
    for action in script:
        pictures.append(world.step(action))
        states.append(world.state)
        if world.blocked:
            return None
    per_chunk = len(pictures) // (len(actions) + 1)
    frames, poses = np.stack(pictures), np.stack([state.pose() for state in states])
    start = Start(
        frames=frames[:per_chunk],
        poses=poses[:per_chunk],
        prompt=captions(world.scene.description, world.scene.seed)[0],
        seed=world.scene.seed,
        world_seed=world.scene.seed,
        theme=world.scene.theme,
        state=states[per_chunk - 1],
        frame=frame + per_chunk - 1,
    )
    chunked = (len(actions), per_chunk)
    return Case(
        start=start,
        actions=actions,
        frames=frames[per_chunk:].reshape(*chunked, *frames.shape[1:]),
        poses=poses[per_chunk:].reshape(*chunked, 4, 4),
    )
