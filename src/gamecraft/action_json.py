"""Actions as JSON: run-length encoded, defaults left out, checked on the way in."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from gamecraft.controls import MAX_FRAMES, Action
from gamecraft.errors import ActionError

__all__ = ["actions_from_json", "actions_to_json"]

_DEFAULT = Action()
_FIELDS = ("frames", "keys", "look", "move_speed", "turn_speed")


def actions_to_json(actions: Sequence[Action]) -> str:
    """One JSON line: ``{"version": 1, "runs": [{"frames": 12, "keys": ["w"], ...}, ...]}``.

    Equal neighbouring actions are one run; fields with their default value are left out. Floats keep all their bits.
    """
    return json.dumps({"version": 1, "runs": [_run(action, len(list(run))) for action, run in groupby(actions)]})


def actions_from_json(text: str) -> list[Action]:
    """Read what ``actions_to_json`` wrote.

    Raises:
        ActionError: not JSON, an unknown version, a missing or unknown field, a value out of range, or too long.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ActionError(f"the actions are not valid JSON: {error}") from None
    if not isinstance(data, dict) or data.get("version") != 1 or not isinstance(data.get("runs"), list):
        raise ActionError('expected actions as {"version": 1, "runs": [...]}')
    actions: list[Action] = []
    for index, run in enumerate(data["runs"]):
        try:
            action, frames = _parse_run(run)
        except ActionError as error:
            raise ActionError(f"run {index} of the actions: {error}") from None
        if len(actions) + frames > MAX_FRAMES:
            raise ActionError(f"the actions are longer than {MAX_FRAMES} frames; split them")
        actions += [action] * frames
    return actions


def _run(action: Action, frames: int) -> dict[str, Any]:
    run: dict[str, Any] = {"frames": frames}
    if action.keys:
        run["keys"] = sorted(action.keys)
    for name in ("look", "move_speed", "turn_speed"):
        if getattr(action, name) != getattr(_DEFAULT, name):
            run[name] = getattr(action, name)
    return run


def _parse_run(run: Any) -> tuple[Action, int]:
    if not isinstance(run, dict):
        raise ActionError(f"expected an object, received {run!r:.40}")
    if unknown := sorted(set(run) - set(_FIELDS)):
        raise ActionError(f"unknown field {unknown[0]!r:.40}; the fields are {', '.join(_FIELDS)}")
    frames = run.get("frames")
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise ActionError(f"frames must be a whole number from 1, received {frames!r:.40}")
    keys, look = run.get("keys", []), run.get("look", _DEFAULT.look)
    if not isinstance(keys, list) or not isinstance(look, list | tuple):
        raise ActionError(f"keys and look must be lists, received keys {keys!r:.40} and look {look!r:.40}")
    if not all(isinstance(key, str) for key in keys):
        raise ActionError(f"keys must be names, received {keys!r:.40}")
    move, turn = run.get("move_speed", _DEFAULT.move_speed), run.get("turn_speed", _DEFAULT.turn_speed)
    return Action(keys=frozenset(keys), look=tuple(look), move_speed=move, turn_speed=turn), frames
