"""The action language: what is held down in each frame, and the motion of the camera that it asks for.

``Key`` and ``Action`` live in ``controls``, the text and JSON forms in ``scripts`` and ``action_json``; all of them are
importable from here.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gamecraft.action_json import actions_from_json, actions_to_json
from gamecraft.controls import (
    DEFAULT_MOVE_SPEED,
    DEFAULT_TURN_SPEED,
    MAX_LOOK,
    MAX_MOVE_SPEED,
    MAX_TURN_SPEED,
    Action,
    Key,
)
from gamecraft.errors import ActionError
from gamecraft.scripts import format_script, parse_script

__all__ = [
    "DEFAULT_MOVE_SPEED",
    "DEFAULT_TURN_SPEED",
    "MAX_LOOK",
    "MAX_MOVE_SPEED",
    "MAX_TURN_SPEED",
    "Action",
    "Key",
    "actions_from_json",
    "actions_to_json",
    "format_script",
    "key_motion",
    "motion",
    "parse_script",
    "smooth",
]

# (right, down, forward) and (yaw right, pitch up) of each key
_DIRECTION = {
    Key.W: (0, 0, 1),
    Key.S: (0, 0, -1),
    Key.D: (1, 0, 0),
    Key.A: (-1, 0, 0),
    Key.SPACE: (0, -1, 0),
    Key.CTRL: (0, 1, 0),
}
_TURN = {Key.RIGHT: (1, 0), Key.LEFT: (-1, 0), Key.UP: (0, 1), Key.DOWN: (0, -1)}


def motion(actions: Sequence[Action], smoothing: float = 0.0) -> npt.NDArray[np.float64]:
    """Camera motion asked for by each frame's action.

    Only the keys are smoothed: the mouse already moves as the hand does, and a scripted ``look`` keeps its exact angle.
    To smooth a playthrough that arrives in pieces, carry the last row of ``smooth(key_motion(piece), ...)``.

    Args:
        actions: F actions, one per frame.
        smoothing: 0 (keys act at once) to below 1 (slow acceleration); see ``smooth``.

    Returns:
        [F, 5] float64: metres to the right, down and forward in the walker's heading frame, then yaw to the right and
        pitch upwards in radians.

    Raises:
        ActionError: ``smoothing`` is out of range.
    """
    rows = smooth(key_motion(actions), smoothing)
    for row, action in zip(rows, actions, strict=True):
        row[3:] += action.look
    return rows


def key_motion(actions: Sequence[Action]) -> npt.NDArray[np.float64]:
    """Motion [F, 5] of the held keys alone, as in ``motion``; a diagonal is as fast as a straight line."""
    rows = np.zeros((len(actions), 5))
    for row, action in zip(rows, actions, strict=True):
        for key in action.keys:
            if key in _DIRECTION:
                row[:3] += _DIRECTION[key]
            else:
                row[3:] += _TURN[key]
        row[:3] *= action.move_speed / max(1.0, float(np.sqrt(row[:3] @ row[:3])))
        row[3:] *= action.turn_speed
    return rows


def smooth(
    rows: npt.NDArray[np.float64], smoothing: float, start: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Accelerate towards each row instead of jumping to it: v[i] = smoothing * v[i-1] + (1 - smoothing) * rows[i].

    Args:
        rows: [F, 5] motion per frame.
        smoothing: 0 to below 1; 0.8 reaches 90 % of a new speed in 10 frames.
        start: [5] smoothed motion of the frame before the first; at rest if None.

    Returns:
        [F, 5] smoothed motion, a new array.

    Raises:
        ActionError: ``smoothing`` is out of range.
    """
    if not 0.0 <= smoothing < 1.0:
        raise ActionError(f"smoothing is {smoothing:g}, expected 0 (none) to below 1")
    out = np.empty_like(rows)
    velocity = np.zeros(rows.shape[1:]) if start is None else start
    for i, row in enumerate(rows):
        velocity = smoothing * velocity + (1.0 - smoothing) * row
        out[i] = velocity
    return out
