"""A player that explores: random play, and a turn away from what is in the way."""

from __future__ import annotations

import math

import numpy as np

from gamecraft.actions import Action, Key
from gamecraft.worlds.players import random_actions

__all__ = ["Wanderer"]

_PATIENCE = 6  # frames of walking against something before turning away
_PIECE = 120  # frames planned at once


class Wanderer:
    """Random actions without tilting or lifting; the same seed and the same obstacles give the same actions."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self._plan: list[Action] = []
        self._stuck = 0

    def next(self, *, blocked: bool) -> Action:
        """The action after a frame in which the player was ``blocked`` or not."""
        self._stuck = self._stuck + 1 if blocked else 0
        if self._stuck >= _PATIENCE:
            self._stuck = 0
            self._plan = self._turn_away()
        while not self._plan:
            self._plan = [_level(action) for action in random_actions(_PIECE, self._rng)]
        return self._plan.pop(0)

    def _turn_away(self) -> list[Action]:
        key = Key.LEFT if self._rng.random() < 0.5 else Key.RIGHT
        degrees, turn = self._rng.uniform(60, 150), float(np.radians(self._rng.uniform(2, 4)))
        turning = [Action(keys=frozenset({key}), turn_speed=turn)] * math.ceil(math.radians(degrees) / turn)
        walking = [Action(keys=frozenset({Key.W}), move_speed=0.25)] * int(self._rng.integers(20, 60))
        return turning + walking


def _level(action: Action) -> Action:
    """The action without what a walker on the ground cannot do."""
    keys = action.keys - {Key.UP, Key.DOWN, Key.SPACE, Key.CTRL}
    return Action(keys=keys, look=(action.look[0], 0.0), move_speed=action.move_speed, turn_speed=action.turn_speed)
