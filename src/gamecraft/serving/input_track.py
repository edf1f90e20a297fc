"""From input messages that come at any time to the actions of a chunk: the newest input wins, no tap is lost."""

from dataclasses import dataclass
from threading import Lock

from gamecraft.controls import DEFAULT_MOVE_SPEED, DEFAULT_TURN_SPEED, MAX_LOOK, Action, Key
from gamecraft.serving.messages import Input

__all__ = ["InputTrack", "Sample"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The actions of one chunk.

    Attributes:
        seq: of the newest input they take into account, 0 if there was none.
        arrived: server time in seconds when the oldest input that no earlier chunk took into account came, or None.
    """

    actions: tuple[Action, ...]
    seq: int
    arrived: float | None


class InputTrack:
    """What one connection's player holds, and what happened since the last chunk was begun.

    Inputs are added while they arrive, actions are taken by the thread that begins a chunk.

    Attributes:
        move_speed, turn_speed: metres and radians per frame.
        active: server time in seconds when the player last did something; a held key counts as doing.
    """

    def __init__(self, fps: float, now: float) -> None:
        self.move_speed, self.turn_speed = DEFAULT_MOVE_SPEED, DEFAULT_TURN_SPEED
        self.active = now
        self._fps = fps
        self._lock = Lock()
        self._seq = 0
        self._clock = 0.0  # the client's, milliseconds
        self._held: frozenset[Key] = frozenset()
        self._arrived: float | None = None
        self._pressed: dict[Key, float] = {}  # since the last chunk, with the client's time
        self._tapped: dict[Key, float] = {}  # pressed and let go since the last chunk, milliseconds held
        self._look = (0.0, 0.0)

    def add(self, message: Input, now: float) -> bool:
        """Take an input into account; one with an old ``seq`` is not. Returns whether the player does something."""
        with self._lock:
            return self._add(message, now)

    def take(self, frames: int, now: float) -> Sample:
        """The actions of a chunk of ``frames`` frames that is begun now.

        Held keys count for all frames, tapped ones for as many of the first as they were held (at least one), and the
        mouse motion is spread evenly.
        """
        with self._lock:
            return self._take(frames, now)

    def _add(self, message: Input, now: float) -> bool:
        if message.seq <= self._seq:
            return False
        self._seq = message.seq
        self._clock = max(self._clock, message.time)  # a clock that goes back must not give negative durations
        held = frozenset(message.keys)
        for key in self._held - held:
            if key in self._pressed:
                held_for = self._clock - self._pressed.pop(key)
                self._tapped[key] = self._tapped.get(key, 0.0) + held_for
        for key in held - self._held:
            self._pressed[key] = self._clock
        self._look = (self._look[0] + message.look[0], self._look[1] + message.look[1])
        if self._arrived is None:
            self._arrived = now
        busy = bool(held or any(message.look))
        if busy or self._held:
            self.active = now
        self._held = held
        return busy

    def _take(self, frames: int, now: float) -> Sample:
        if self._held:
            self.active = now
        taps = {key: max(1, round(held / 1000 * self._fps)) for key, held in self._tapped.items()}
        yaw, pitch = (max(-MAX_LOOK, min(MAX_LOOK, turn / frames)) for turn in self._look)
        actions = tuple(
            Action(
                keys=self._held | {key for key, length in taps.items() if index < length},
                look=(yaw, pitch),
                move_speed=self.move_speed,
                turn_speed=self.turn_speed,
            )
            for index in range(frames)
        )
        sample = Sample(actions=actions, seq=self._seq, arrived=self._arrived)
        self._pressed.clear()
        self._tapped.clear()
        self._look, self._arrived = (0.0, 0.0), None
        return sample
