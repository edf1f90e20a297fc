"""What a generation is asked for, from text and files to actions and pictures. Nothing heavy is imported."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action, parse_script
from gamecraft.controls import MAX_MOVE_SPEED, MAX_TURN_SPEED
from gamecraft.errors import ActionError, InputError
from gamecraft.gallery import gallery_picture
from gamecraft.pictures import open_picture
from gamecraft.sidecar import GenerateSettings
from gamecraft.video import read_video

__all__ = ["resolve", "scripted_actions"]


def scripted_actions(script: str, fps: float, *, speed: float | None = None, turn: float | None = None) -> list[Action]:
    """The actions of a script; where it gives no speeds, ``speed`` in metres and ``turn`` in degrees per frame.

    Raises:
        ActionError: the script is not valid, or a speed is out of range.
    """
    actions = parse_script(script, fps)
    changes: dict[str, float] = {}
    if speed is not None:
        changes["move_speed"] = _in_range("speed", speed, MAX_MOVE_SPEED, "metres per frame")
    if turn is not None:
        degrees = _in_range("turn", turn, math.degrees(MAX_TURN_SPEED), "degrees per frame")
        changes["turn_speed"] = min(math.radians(degrees), MAX_TURN_SPEED)
    default = Action()

    def changed(action: Action) -> Action:
        new: dict[str, Any] = {
            name: value for name, value in changes.items() if getattr(action, name) == getattr(default, name)
        }
        return dataclasses.replace(action, **new)

    return [changed(action) for action in actions]


def resolve(settings: GenerateSettings, chunk_frames: int) -> tuple[GenerateSettings, dict[str, NDArray[np.uint8]]]:
    """Settings that mean the same in every folder, and the start as an argument for ``Session.reset``.

    Raises:
        InputError: not exactly one start, or it cannot be read.
    """
    if (settings.image is None) == (settings.video is None):
        raise InputError("expected either --image or --video to start from")
    if settings.model is not None:
        settings = dataclasses.replace(settings, model=str(Path(settings.model).resolve()))
    if settings.video is not None:
        frames, _ = read_video(settings.video, last=chunk_frames)
        return dataclasses.replace(settings, video=str(Path(settings.video).resolve())), {"video": frames}
    name = str(settings.image)
    if picture := gallery_picture(name):
        prompt = picture.caption_long if settings.prompt is None else settings.prompt
        return dataclasses.replace(settings, prompt=prompt), {"image": np.array(open_picture(picture.path))}
    return dataclasses.replace(settings, image=str(Path(name).resolve())), {"image": np.array(open_picture(name))}


def _in_range(name: str, value: float, high: float, unit: str) -> float:
    if not 0 <= value <= high:
        raise ActionError(f"{name} is {value:g}, expected 0 to {high:g} {unit}")
    return value
