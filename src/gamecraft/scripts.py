"""Actions as one line of text: ``w 2s, w+d 1s, look:right 45deg over 20f, 3x(left 10f turn 3deg, idle 10f)``.

Grammar (case and spaces do not matter)::

    script = item ("," item)*
    item   = COUNT "x" "(" script ")"
           | part ("+" part)* ["over"] DURATION ["speed" METRES] ["turn" DEGREES "deg"]
    part   = KEY | "idle" | "look:" ("left" | "right" | "up" | "down") DEGREES "deg"

A duration is in seconds (``2s``) or frames (``48f``). ``look`` is mouse motion, spread evenly over the duration; speed
and turn are per frame, as in ``Action``.
"""

import math
from collections.abc import Sequence
from itertools import groupby

from gamecraft.controls import MAX_FRAMES, MAX_LOOK, MAX_MOVE_SPEED, MAX_TURN_SPEED, Action, Key
from gamecraft.errors import ActionError
from gamecraft.script_tokens import TokenStream

__all__ = ["format_script", "parse_script"]

_LOOK = {"look:right": (1, 0), "look:left": (-1, 0), "look:up": (0, 1), "look:down": (0, -1)}
_PARTS = ", ".join([*Key, "idle", *_LOOK])
_MAX_TURN = math.degrees(MAX_TURN_SPEED)
_MAX_DEPTH = 8


def parse_script(text: str, fps: float = 24) -> list[Action]:
    """Read a script, one action per frame.

    Args:
        text: see the grammar above.
        fps: frames per second, to turn seconds into frames (rounded to the nearest).

    Raises:
        ActionError: the text is not a script, is empty, has a value out of range, or is longer than ``MAX_FRAMES``; the
            message shows the offending place.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ActionError(f"fps is {fps:g}, expected a number above 0")
    tokens = TokenStream(text)
    if tokens.at_end():
        raise ActionError("the script is empty; expected something like 'w 2s, left 10f'")
    actions = _script(tokens, fps, depth=0)
    if not tokens.at_end():
        raise tokens.error("expected a comma or the end of the script")
    return actions


def format_script(actions: Sequence[Action], fps: int | None = None) -> str:
    """Write actions as a script that ``parse_script`` reads back (angles to 12 digits).

    Args:
        actions: at least one; equal neighbours become one item.
        fps: whole seconds at this rate are written as seconds; frames only if None.

    Raises:
        ActionError: there are no actions, for which there is no script.
    """
    if not actions:
        raise ActionError("there is no script for no actions; pass at least one")
    return ", ".join(_format_item(action, len(list(run)), fps) for action, run in groupby(actions))


def _script(tokens: TokenStream, fps: float, depth: int) -> list[Action]:
    actions: list[Action] = []
    while True:
        start = tokens.position
        item = _repetition(tokens, fps, depth) if tokens.next_is_number() else _item(tokens, fps)
        if len(actions) + len(item) > MAX_FRAMES:
            raise tokens.error(f"the script is longer than {MAX_FRAMES} frames by here; split it", start)
        actions += item
        if not tokens.accept(","):
            return actions


def _repetition(tokens: TokenStream, fps: float, depth: int) -> list[Action]:
    start = tokens.position
    count = tokens.number("a repetition such as 3x(...)")
    if not (1 <= count <= MAX_FRAMES and count == int(count)):
        raise tokens.error(f"a repetition count must be a whole number from 1 to {MAX_FRAMES}", start)
    tokens.expect("x", "x and a parenthesis, as in 3x(w 1s, left 10f)")
    tokens.expect("(", "a parenthesis, as in 3x(w 1s, left 10f)")
    if depth == _MAX_DEPTH:
        raise tokens.error(f"repetitions are nested more than {_MAX_DEPTH} deep", start)
    actions = _script(tokens, fps, depth + 1)
    tokens.expect(")", "a comma or a closing parenthesis")
    if len(actions) * count > MAX_FRAMES:
        raise tokens.error(f"the repetition is longer than {MAX_FRAMES} frames", start)
    return actions * int(count)


def _item(tokens: TokenStream, fps: float) -> list[Action]:
    start = tokens.position
    keys, (yaw, pitch) = _parts(tokens)
    frames = _duration(tokens, fps)
    look, default = (_look(yaw, frames, tokens, start), _look(pitch, frames, tokens, start)), Action()
    move, turn = default.move_speed, default.turn_speed
    if tokens.accept("speed"):
        move = tokens.number("a speed such as 0.2", MAX_MOVE_SPEED, "metres per frame")
    if tokens.accept("turn"):
        turn = math.radians(tokens.number("an angle such as 2deg", _MAX_TURN, "degrees per frame"))
        tokens.expect("deg", "deg")
    # degrees and back may round a maximal turn up by one bit
    return [Action(keys=keys, look=look, move_speed=move, turn_speed=min(turn, MAX_TURN_SPEED))] * frames


def _parts(tokens: TokenStream) -> tuple[frozenset[Key], tuple[float, float]]:
    """Keys held and radians looked in total, e.g. of ``w + left + look:up 10deg``."""
    if tokens.accept("idle"):
        return frozenset(), (0.0, 0.0)
    keys: set[Key] = set()
    yaw = pitch = 0.0
    while True:
        start = tokens.position
        name = tokens.word(f"a key ({_PARTS})")
        if name in _LOOK:
            angle = math.radians(tokens.number("an angle such as 45deg"))
            tokens.expect("deg", "deg")
            yaw, pitch = yaw + angle * _LOOK[name][0], pitch + angle * _LOOK[name][1]
        elif name in list(Key):
            keys.add(Key(name))
        else:
            raise tokens.error(f"unknown key {name!r}; the keys are {_PARTS}", start)
        if not tokens.accept("+"):
            return frozenset(keys), (yaw, pitch)


def _look(angle: float, frames: int, tokens: TokenStream, start: int) -> float:
    """Radians per frame. The bound, given in degrees, may come back as radians that are a bit too large."""
    look = angle / frames
    if not abs(look) <= MAX_LOOK * (1 + 1e-9):  # nan too: the sum of two opposite infinities
        raise tokens.error(f"this looks around by more than {math.degrees(MAX_LOOK):g} degrees in one frame", start)
    return max(-MAX_LOOK, min(MAX_LOOK, look))


def _duration(tokens: TokenStream, fps: float) -> int:
    tokens.accept("over")
    start = tokens.position
    amount = tokens.number("a duration such as 2s or 48f")
    if tokens.accept("s"):
        amount *= fps
    else:
        tokens.expect("f", "the unit of the duration, s or f")
        if math.isfinite(amount) and amount != int(amount):
            raise tokens.error("a duration in frames must be a whole number", start)
    if amount > MAX_FRAMES:
        raise tokens.error(f"a script can last {MAX_FRAMES} frames, this is longer", start)
    if round(amount) < 1:
        raise tokens.error(f"this duration is shorter than one frame at {fps:g} frames per second", start)
    return round(amount)


def _format_item(action: Action, frames: int, fps: int | None) -> str:
    parts: list[str] = [key for key in Key if key in action.keys]
    for axis, (positive, negative) in enumerate([("right", "left"), ("up", "down")]):
        if angle := math.degrees(action.look[axis]) * frames:
            parts.append(f"look:{positive if angle > 0 else negative} {abs(angle):.12g}deg")
    seconds = fps is not None and frames % fps == 0
    text = f"{' + '.join(parts) or 'idle'} {f'{frames // fps}s' if fps and seconds else f'{frames}f'}"
    if action.move_speed != Action().move_speed:
        text += f" speed {action.move_speed!r}"
    if action.turn_speed != Action().turn_speed:
        text += f" turn {math.degrees(action.turn_speed):.12g}deg"
    return text
