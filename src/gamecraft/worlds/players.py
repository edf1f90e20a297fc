"""Random players: sequences of actions that cover the action space the way people play."""

from __future__ import annotations

import numpy as np

from gamecraft.actions import Action, Key

__all__ = ["random_actions"]

_WALKS = (("w",), ("s",), ("a",), ("d",), ("w", "d"), ("w", "a"), ("s", "a"), ("s", "d"))
_WALK_SHARES = np.array([0.36, 0.12, 0.12, 0.12, 0.09, 0.09, 0.05, 0.05])


def random_actions(frames: int, rng: np.random.Generator, longest: int = 30) -> list[Action]:
    """`frames` actions in segments of 5 to `longest` frames: walking, turning, both, rising, sinking, looking, pausing.

    Speeds are drawn once per segment. The pitch is steered back towards level, as players do.
    """
    actions: list[Action] = []
    pitch = 0.0
    while len(actions) < frames:
        length = int(rng.integers(5, longest + 1))
        kind = rng.choice(
            ["walk", "turn", "walk+turn", "tilt", "lift", "mouse", "idle"], p=[0.38, 0.24, 0.14, 0.07, 0.03, 0.09, 0.05]
        )
        keys: list[str] = []
        if "walk" in kind:
            keys += _WALKS[rng.choice(len(_WALKS), p=_WALK_SHARES)]
        if "turn" in kind:
            keys.append(str(rng.choice(["left", "right"])))
        if kind == "tilt":
            keys.append("down" if pitch > 0.1 or (pitch > -0.1 and rng.random() < 0.5) else "up")
            length = min(length, 12)
        if kind == "lift":
            keys.append(str(rng.choice(["space", "ctrl"])))
        speed, turn = float(rng.uniform(0.08, 0.32)), float(np.radians(rng.uniform(0.8, 3.6)))
        look = np.zeros((length, 2))
        if kind == "mouse":
            # A hand's swing: speed rises and falls within the segment; half of them while walking.
            swing = np.sin(np.pi * (np.arange(length) + 0.5) / length)[:, None]
            look = swing * np.radians([rng.uniform(-4.5, 4.5), float(np.clip(rng.normal(0, 1) - 3 * pitch, -2, 2))])
            keys += ["w"] if rng.random() < 0.5 else []
        held = frozenset(Key(key) for key in keys)
        for yaw_step, pitch_step in look:
            action = Action(keys=held, look=(float(yaw_step), float(pitch_step)), move_speed=speed, turn_speed=turn)
            pitch += float(pitch_step) + turn * ((Key.UP in held) - (Key.DOWN in held))
            actions.append(action)
    return actions[:frames]
