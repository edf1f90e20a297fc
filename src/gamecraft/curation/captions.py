"""Ninth stage: a short and a long caption of each clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from gamecraft.curation.captioners import ask, check_source
from gamecraft.curation.samples import sample_clip
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.trajectory import CameraState

__all__ = ["Captions", "clip_pictures", "template_captions"]

SHORT, LONG = 30, 100
"""Characters a short caption aims at; characters a long one has at least."""
_MAX = 2000
_WIDTH = 768
_REQUESTS = {
    "short": f"Name the place in these frames of a game in about {SHORT} characters. Answer with the words alone.",
    "long": f"Describe the place, the light and the mood in these frames of a game in one or two sentences of {LONG} "
    "to 300 characters. Do not speak of menus, players or pictures. Answer with the description alone.",
}


@dataclass(frozen=True, kw_only=True)
class Captions:
    """Writes captions.

    Attributes:
        source: ``template`` (from what is known about the recording and its motion, offline), ``transformers`` (a local
            image-text-to-text model), ``endpoint`` (a server that speaks OpenAI's chat completions), or a plug-in
            ``module:function`` from pictures and a request to an answer.
        model: name or folder of the model.
        url: of the endpoint, such as ``http://localhost:8000/v1``.
        key_variable: environment variable that holds the endpoint's key, if it needs one.
        frames: pictures of the clip that the model sees.
    """

    name: ClassVar[str] = "captions"
    version: ClassVar[int] = 1

    source: str = "template"
    model: str = ""
    url: str = ""
    key_variable: str = ""
    frames: int = 3

    def __post_init__(self) -> None:
        check_source(self.source, self.model, self.url)

    def process(self, unit: Unit, store: Store) -> Result:
        """``short`` and ``long``."""
        clip = unit.inputs
        if self.source == "template":
            poses = np.array((store.read("poses", unit.name) or {})["poses"]).reshape(-1, 4, 4)
            short, long = template_captions(clip["about"], poses, clip["luma"])
            return {"short": short, "long": long}
        pictures = clip_pictures(unit, self.frames)
        answers = {name: " ".join(self._ask(pictures, text).split())[:_MAX] for name, text in _REQUESTS.items()}
        if not all(answers.values()):
            return {"rejected": ["no caption", "the model answered nothing"]}
        return answers

    def _ask(self, pictures: Sequence[Image.Image], request: str) -> str:
        return ask(self.source, self.model, self.url, self.key_variable, pictures, request)


def clip_pictures(unit: Unit, count: int) -> list[Image.Image]:
    """Some frames of a clip, as much of them as the dataset's lens shows; ``window`` is among the unit's inputs."""
    clip = unit.inputs
    frames = sample_clip(Path(unit.place), clip["fps"], clip["first"], clip["frames"], count, _WIDTH)
    height, width = frames.shape[1:3]
    left, top, right, bottom = clip["window"]
    box = (int(left * width), int(top * height), int(right * width), int(bottom * height))
    return [Image.fromarray(frame).crop(box) for frame in frames]


def template_captions(about: dict[str, Any], poses: np.ndarray[Any, Any], luma: float) -> tuple[str, str]:
    """A short and a long caption from metadata alone.

    Args:
        about: see ``raw.About``.
        poses: [F, 4, 4] camera-to-world.
        luma: mean brightness, 0 to 1.
    """
    game, place = about.get("game") or "a game", about.get("place") or "an unnamed place"
    walk, turn = _motion_words(poses)
    short = f"{walk[0].upper()}{walk[1:]} in {game}"
    light = "dim" if luma < 0.15 else "bright" if luma > 0.5 else "even"
    known = about.get("description") or f"A first-person view of {game}: {place}."
    metres = float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())
    long = f"{known} The camera is {walk} and {turn}, over a path of {metres:.0f} metres, seen in {light} light."
    return short, long


def _motion_words(poses: np.ndarray[Any, Any]) -> tuple[str, str]:
    start, end = CameraState.from_pose(poses[0]), CameraState.from_pose(poses[-1])
    heading = poses[0, :3, :3].T @ (poses[-1, :3, 3] - poses[0, :3, 3])
    across, ahead = float(heading[0]), float(heading[2])
    if max(abs(across), abs(ahead)) < 0.5:
        walk = "standing"
    elif abs(ahead) >= abs(across):
        walk = "walking forward" if ahead > 0 else "walking back"
    else:
        walk = "stepping right" if across > 0 else "stepping left"
    degrees = float(np.degrees((end.yaw - start.yaw + np.pi) % (2 * np.pi) - np.pi))
    turn = "looking straight on" if abs(degrees) < 10 else f"turning {'right' if degrees > 0 else 'left'}"
    return walk, turn
