"""Action signals: what is held during a rollout, chunk by chunk."""

import math
from dataclasses import dataclass

from gamecraft.actions import Action, Key

__all__ = ["Signal", "held"]

_MOVE_SPEED = 0.2  # metres per frame
_TURN_SPEED = math.radians(2)  # per frame
_TILT_SPEED = math.radians(1)
_MAX_TILT = math.radians(20)


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Keys (joined by +, empty for none) for every chunk of a rollout.

    Attributes:
        keys: held from the first chunk on.
        then: if given, held in turn with ``keys``, changing every ``every`` chunks, or after half of the rollout.
        history: held in the chunk of true frames before the rollout; random play if None.
    """

    keys: str
    then: str | None = None
    every: int | None = None
    history: str | None = None

    @property
    def returns(self) -> bool:
        """Whether the second half undoes the first."""
        return self.then is not None and self.every is None

    def schedule(self, chunks: int, chunk_frames: int, pitch: float) -> tuple[Action, ...]:
        """The action of each chunk, from a camera of this pitch (radians) on.

        Looking up and down is slower than turning and turns back in time, before the horizon leaves the picture.
        """
        actions = []
        every = self.every or max(1, chunks // 2)
        sign = 1
        for chunk in range(chunks):
            keys = self.then if self.then is not None and chunk // every % 2 else self.keys
            action = held(keys)
            tilt = (Key.UP in action.keys) - (Key.DOWN in action.keys)
            if tilt:
                step = _TILT_SPEED * chunk_frames * tilt
                if abs(pitch + sign * step) > max(_MAX_TILT, abs(pitch)):
                    sign = -sign
                pitch += sign * step
                others = action.keys - {Key.UP, Key.DOWN}
                action = Action(keys=others | {Key.UP if sign * tilt > 0 else Key.DOWN}, turn_speed=_TILT_SPEED)
            actions.append(action)
        return tuple(actions)


def held(keys: str) -> Action:
    """The action of holding keys joined by +, at the speeds of all suites: 0.2 m and 2 degrees per frame."""
    names = frozenset(Key(key) for key in keys.split("+") if key)
    return Action(keys=names, move_speed=_MOVE_SPEED, turn_speed=_TURN_SPEED)
