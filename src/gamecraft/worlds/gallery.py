"""Takes the package's start pictures: ``python -m gamecraft.worlds.gallery FOLDER``.

The worlds were chosen by eye among the best rated of a dozen held-out ones per theme; in each of them many views are
tried and the best-looking one with room to walk ahead is kept.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gamecraft.actions import Action, Key
from gamecraft.files import write_atomically
from gamecraft.gallery import INDEX_NAME, GalleryPicture
from gamecraft.trajectory import CameraState
from gamecraft.worlds.captions import captions
from gamecraft.worlds.environment import EYE_HEIGHT, LowPolyWorld
from gamecraft.worlds.renderer import Renderer

__all__ = ["SEEDS", "choose_view", "make_gallery", "rate_view"]

SEEDS: Mapping[str, int] = MappingProxyType(
    {
        "village": 2_000_000,
        "temple": 2_000_020,
        "forest": 2_000_028,
        "snow": 2_000_046,
        "desert": 2_000_059,
        "night_town": 2_000_071,
        "canyon": 2_000_083,
        "harbour": 2_000_090,
        "meadow": 2_000_096,
        "islands": 2_000_119,
        "ruins": 2_000_131,
        "autumn": 2_000_141,
    }
)
"""World of each theme, from 2,000,000 on: neither trained on nor measured with."""

_VIEWS = 24
_AHEAD = 60  # frames of walking that must be possible


def rate_view(picture: NDArray[np.uint8]) -> float:
    """How much there is to see in a picture [H, W, 3]: edges around the horizon, colours, not dark or flat."""
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


def choose_view(world: LowPolyWorld) -> tuple[CameraState, int]:
    """The best of many views of a world with room to walk ahead: the walker, and the index of the picture."""
    rng = np.random.default_rng([world.scene.seed, 7])
    best, chosen = -np.inf, (CameraState(position=(0.0, -EYE_HEIGHT, 0.0)), 0)
    for _ in range(_VIEWS):
        camera, frame = world.spawn(rng, clear_ahead=2.5), int(rng.integers(0, 4000))
        rating = rate_view(world.reset(camera, frame))
        if rating > best and _room_ahead(world):
            best, chosen = rating, (camera, frame)
    return chosen


def make_gallery(folder: Path, seeds: Mapping[str, int] = SEEDS) -> list[GalleryPicture]:
    """Render and write one picture for each theme -> seed, and their index."""
    renderer = Renderer()
    pictures = []
    for theme, seed in seeds.items():
        world = LowPolyWorld(seed, theme, renderer=renderer)
        camera, frame = choose_view(world)
        short, long = captions(world.scene.description, seed)
        picture = GalleryPicture(
            name=theme,
            path=folder / f"{theme}.png",
            theme=theme,
            world_seed=seed,
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
