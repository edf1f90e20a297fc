"""Makes raw recordings: random play in Doom maps and in low-poly worlds, and recordings that a person brings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gamecraft.actions import Action, motion
from gamecraft.curation.input_log import read_inputs
from gamecraft.curation.raw import About, RawWriter, inputs_path
from gamecraft.curation.recording import probe
from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.intrinsics import Intrinsics

__all__ = ["RecordSettings", "import_recording", "record_doom", "record_world"]

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """How to record. Sizes are in pixels; a finished recording is kept."""

    seconds: float = 60.0
    fps: int = 24
    width: int = 640
    height: int = 360
    seed: int = 0
    hud: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("seconds", 1, 4 * 3600), ("fps", 1, 120), ("width", 16, 4096), ("height", 16, 4096)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name):g}, expected {low} to {high}")

    @property
    def frames(self) -> int:
        """Frames to record."""
        return round(self.seconds * self.fps)


def record_doom(folder: Path, map_name: str, settings: RecordSettings, on_frame: Progress | None = None) -> Path:
    """Record random play in a Freedoom map; returns the video.

    Raises:
        GameCraftError: ViZDoom is not installed, or it has no such map or size.
    """
    from gamecraft.worlds.doom import DoomWorld, doom_intrinsics
    from gamecraft.worlds.wanderer import Wanderer

    name = f"{map_name.replace('/', '_')}_{settings.seed}{'_hud' if settings.hud else ''}"
    about = About(game="Freedoom", place=map_name, intrinsics=doom_intrinsics(settings.width, settings.height))
    if (video := folder / f"{name}.mp4").exists():
        return video
    size = {"width": settings.width, "height": settings.height}
    with (
        DoomWorld(map_name, seed=settings.seed, hud=settings.hud, **size) as world,
        RawWriter(folder, name, about, fps=settings.fps) as writer,
    ):
        player = Wanderer(settings.seed)
        writer.event("start", frames=1, place=map_name)
        writer.add(world.reset(), world.state.pose(), Action())
        for frame in range(1, settings.frames):
            action = player.next(blocked=world.blocked)
            picture = world.step(action, use=world.blocked)
            if world.ended:  # the player found the exit
                writer.event("start", frames=1, place=map_name)
                picture, action = world.reset(), Action()
            writer.add(picture, world.state.pose(), action)
            if on_frame is not None:
                on_frame(frame + 1)
    return video


def record_world(
    folder: Path, seed: int, theme: str | None, settings: RecordSettings, on_frame: Progress | None = None
) -> Path:
    """Record random play in one low-poly world; returns the video."""
    from gamecraft.worlds.captions import captions
    from gamecraft.worlds.environment import LowPolyWorld
    from gamecraft.worlds.players import random_actions
    from gamecraft.worlds.renderer import Renderer

    # Square pixels, which is what people record and what structure from motion expects.
    lens = Intrinsics(fx=Intrinsics().fx, fy=Intrinsics().fx * settings.width / settings.height)
    world = LowPolyWorld(seed, theme, renderer=Renderer(settings.height, settings.width, intrinsics=lens))
    name = f"{world.scene.theme}_{seed}_{settings.seed}"
    if (video := folder / f"{name}.mp4").exists():
        return video
    about = About(
        game="low-poly world",
        place=world.scene.theme,
        description=captions(world.scene.description, seed)[1],
        intrinsics=lens,
    )
    rng = np.random.default_rng([seed, settings.seed, 3])
    actions = random_actions(settings.frames - 1, rng)
    with RawWriter(folder, name, about, fps=settings.fps) as writer:
        writer.event("start", frames=1, place=world.scene.theme)
        writer.add(world.reset(world.spawn(rng)), world.state.pose(), Action())
        for frame, (action, row) in enumerate(zip(actions, motion(actions), strict=True)):
            writer.add(world.move(row), world.state.pose(), action)
            if on_frame is not None:
                on_frame(frame + 2)
    return video


def import_recording(folder: Path, video: Path, inputs: Path | None = None) -> Path:
    """Check a person's recording and its input log and copy them into a folder of raw recordings; returns the copy.

    Raises:
        InputError: it holds no readable video, the log is not valid, or the folder has another recording of that name.
    """
    probe(video)
    if inputs is not None:
        read_inputs(inputs)
    target = folder / video.name
    if target.exists() and target.stat().st_size != video.stat().st_size:
        raise InputError(f"{target} is another recording of the same name; rename one of them")
    pairs = [(video, target)] if inputs is None else [(inputs, inputs_path(target)), (video, target)]
    for source, copy in pairs:
        if not copy.exists():
            with write_atomically(copy) as temporary:
                shutil.copyfile(source, temporary)
    return target
