"""Does a chunk show the motion that its action asked for? The definitions of action and direction accuracy."""

import numpy as np
import numpy.typing as npt

from gamecraft.actions import Action, key_motion

__all__ = ["LEAST_MOTION", "THRESHOLD", "follows"]

THRESHOLD = 1 / 3
"""Share of the commanded motion that must at least be visible: a hesitant step counts, a twitch does not."""

LEAST_MOTION = 0.1
"""The same for the direction alone: enough to tell a motion from the noise of a picture that stands still."""

_GROUPS = {"move": slice(0, 3), "look": slice(3, 5)}


def follows(
    action: Action,
    commanded: npt.NDArray[np.float64],
    seen: npt.NDArray[np.float64],
    least: float = THRESHOLD,
) -> bool:
    """Whether the motion ``seen`` in a chunk follows its action, which is the same in all frames.

    A component is *commanded* if the action's keys move it: w s: forward, a d: right, space ctrl: down (one group);
    left right: yaw, up down: pitch (the other group). The chunk follows its action if in both groups

    1. every commanded component is seen with the right sign and at least the share ``least`` of its commanded size, and
    2. if the group has one commanded component, its direction is the nearest to the seen motion among the directions
       of the group (w s a d and up and down; left right up down), that is, no other component of the group is larger.

    Groups without a commanded component are not judged, so an idle action is always followed.

    Args:
        action: the keys held.
        commanded: [5] true motion over the chunk (right, down, forward in metres, yaw, pitch in radians).
        seen: [5] motion recovered from the frames.
        least: ``THRESHOLD`` for action accuracy, ``LEAST_MOTION`` for that of the direction.
    """
    wanted = np.sign(key_motion([action])[0])
    for group in _GROUPS.values():
        asked = wanted[group] != 0
        along = seen[group] * wanted[group]
        if (along[asked] < least * np.abs(commanded[group][asked])).any():
            return False
        if asked.sum() == 1 and np.abs(seen[group][~asked]).max() > along[asked][0]:
            return False
    return True
