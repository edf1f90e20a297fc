"""Takes the package's start pictures: ``python -m gamecraft.worlds.gallery FOLDER``.

For each theme many views of held-out worlds are tried; the best-looking one with room to walk ahead is kept.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gamecraft.actions import Action, Key
from gamecraft.files import write_atomically
from gamecraft.gallery import INDEX_NAME, GalleryPicture
from gamecraft.trajectory import CameraState
from gamecraft.worlds.captions import captions
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.renderer import Renderer
from gamecraft.worlds.themes import THEMES

__all__ = ["FIRST_SEED", "choose_view", "make_gallery", "rate_view"]

FIRST_SEED = 2_000_000
"""Worlds of the gallery are numbered from here on: neither trained on nor measured with."""

_WORLDS, _VIEWS = 12, 24
_AHEAD = 60  # frames of walking that must be possible


def rate_view(picture: NDArray[np.uint8]) -> float:
    """How much there is to see in a picture [H, W, 3]: edges around the horizon, many colours, neither dark nor flat."""
    values = picture.astype(np.float64) / 255
    height = len(values)
    grey = values.mean(axis=2)
    band = grey[height // 5 : 3 * height // 4]
    edges = np.abs(np.diff(band, axis=1)).clip(0, 0.25).mean() + np.abs(np.diff(band, axis=0)).clip(0, 0.25).mean()
    colours = (values - grey[..., None]).std()
    boxes = band[:, : band.shape[1] // 8 * 8].reshape(len(band), 8, -1)
    spread = np.abs(np.diff(boxes.mean(axis=(0, 2)))).mean()  # things on both sides, not one wall
    coarse = (values[height // 5 : 3 * height // 4] * 6).astype(int).reshape(-1, 3)
    kinds = len(np.unique(coarse, axis=0)) / 60
    # A near object that fills the lower middle blocks the way for the eye.
    centre = values[2 * height // 3 :, values.shape[1] // 3 : 2 * values.shape[1] // 3]
    return float(6 * edges + 2 * colours + 2 * spread + kinds + grey.std() - 2 * centre.std())


def choose_view(theme: str, seed: int, renderer: Renderer) -> tuple[float, LowPolyWorld, CameraState, int]:
    """The best of many views of a world: its rating, the world, the walker and the frame index."""
    world = LowPolyWorld(seed, theme, renderer=renderer)
    rng = np.random.default_rng([seed, 7])
    best: tuple[float, CameraState, int] | None = None
    for _ in range(_VIEWS):
        camera, frame = world.spawn(rng, clear_ahead=2.5), int(rng.integers(0, 4000))
        rating = rate_view(world.reset(camera, frame))
        if (best is None or rating > best[0]) and _room_ahead(world):
            best = rating, camera, frame
    if best is None:
        return -np.inf, world, CameraState(), 0
    return best[0], world, best[1], best[2]


def make_gallery(folder: Path, themes: Sequence[str] = tuple(THEMES)) -> list[GalleryPicture]:
    """Choose, render and write one picture per theme, and their index."""
    renderer = Renderer()
    pictures = []
    for number, theme in enumerate(themes):
        first = FIRST_SEED + number * _WORLDS
        views = [choose_view(theme, seed, renderer) for seed in range(first, first + _WORLDS)]
        _, world, camera, frame = max(views, key=lambda view: view[0])
        short, long = captions(world.scene.description, world.scene.seed)
        picture = GalleryPicture(
            name=theme,
            path=folder / f"{theme}.png",
            theme=theme,
            world_seed=world.scene.seed,
            frame=frame,
            camera=camera,
            caption_short=short,
            caption_long=long,
        )
        with write_atomically(picture.path) as temporary:
            Image.fromarray(world.reset(camera, frame)).save(temporary, "PNG", optimize=True)
        pictures.append(picture)
    with write_atomically(folder / INDEX_NAME) as temporary:
        temporary.write_text(json.dumps({"pictures": [picture.to_json() for picture in pictures]}, indent=1) + "\n")
    return pictures


def _room_ahead(world: LowPolyWorld) -> bool:
    walk = Action(keys=frozenset({Key.W}))
    for _ in range(_AHEAD):
        world.step(walk)
        if world.blocked:
            return False
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    make_gallery(parser.parse_args().folder)
