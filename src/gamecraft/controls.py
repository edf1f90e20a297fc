"""What a player does in one frame: the keys held down, the mouse motion and the two speeds."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from gamecraft.errors import ActionError

__all__ = [
    "DEFAULT_MOVE_SPEED",
    "DEFAULT_TURN_SPEED",
    "MAX_FRAMES",
    "MAX_LOOK",
    "MAX_MOVE_SPEED",
    "MAX_TURN_SPEED",
    "Action",
    "Key",
]

MAX_FRAMES = 24 * 60 * 60
"""Longest sequence of actions read from text: an hour at 24 frames per second."""

MAX_MOVE_SPEED = 0.5
"""Metres per frame: 12 m/s at 24 frames per second, a fast vehicle."""
MAX_TURN_SPEED = math.radians(8)
"""Radians per frame: half a turn in about a second at 24 frames per second."""
MAX_LOOK = math.pi
"""Radians of mouse motion in one frame; more than half a turn cannot be told from a turn the other way."""
DEFAULT_MOVE_SPEED = 0.2
DEFAULT_TURN_SPEED = math.radians(2)


class Key(StrEnum):
    """The keys of the game: W A S D walk, space rises, ctrl sinks, the arrows look around."""

    W = "w"
    A = "a"
    S = "s"
    D = "d"
    SPACE = "space"
    CTRL = "ctrl"
    UP = "up"
    DOWN = "down"
    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, kw_only=True)
class Action:
    """The player's input during one frame.

    Attributes:
        keys: the keys held down; any combination, opposite keys cancel.
        look: mouse motion (yaw to the right, pitch upwards) in radians, each within +-``MAX_LOOK``.
        move_speed: metres per frame while a movement key is held, 0 to ``MAX_MOVE_SPEED``.
        turn_speed: radians per frame while an arrow is held, 0 to ``MAX_TURN_SPEED``.

    Raises:
        ActionError: a key is unknown or a number is not finite or out of its range.
    """

    keys: frozenset[Key] = field(default=frozenset())
    look: tuple[float, float] = (0.0, 0.0)
    move_speed: float = DEFAULT_MOVE_SPEED
    turn_speed: float = DEFAULT_TURN_SPEED

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", frozenset(_key(name) for name in self.keys))
        if len(self.look) != 2:
            raise ActionError(f"look needs two numbers (yaw right, pitch up, radians), received {self.look!r:.60}")
        yaw, pitch = (_in_range("look", value, -MAX_LOOK, MAX_LOOK, "radians in one frame") for value in self.look)
        object.__setattr__(self, "look", (yaw, pitch))
        move = _in_range("move_speed", self.move_speed, 0.0, MAX_MOVE_SPEED, "metres per frame")
        turn = _in_range("turn_speed", self.turn_speed, 0.0, MAX_TURN_SPEED, "radians per frame")
        object.__setattr__(self, "move_speed", move)
        object.__setattr__(self, "turn_speed", turn)


def _key(name: object) -> Key:
    if name not in list(Key):
        raise ActionError(f"unknown key {name!r:.40}; the keys are {', '.join(Key)}")
    return Key(str(name))


def _in_range(name: str, value: object, low: float, high: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ActionError(f"{name} must be a number in {unit}, received {value!r:.20}")
    if not low <= value <= high:  # also refuses nan, for which every comparison is false
        raise ActionError(f"{name} is {value!r:.20}, expected {low:g} to {high:g} {unit}")
    return float(value)
