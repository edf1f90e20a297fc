"""The start pictures are exactly what the renderer draws at the recorded place, in worlds nobody trains on."""

import json
from pathlib import Path

import numpy as np
import pytest

from gamecraft.actions import parse_script
from gamecraft.gallery import gallery, gallery_picture
from gamecraft.pictures import open_picture
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.gallery import SEEDS, choose_view, make_gallery, rate_view
from gamecraft.worlds.renderer import Renderer
from gamecraft.worlds.themes import THEMES


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


def test_there_is_one_picture_per_theme_from_a_held_out_world() -> None:
    pictures = gallery()
    assert set(pictures) == set(THEMES) == set(SEEDS)
    for name, picture in pictures.items():
        assert (picture.name, picture.theme) == (name, name)
        assert 2_000_000 <= picture.world_seed == SEEDS[name]
        assert picture.camera.pitch == 0
        assert len(picture.caption_short) < 60 < len(picture.caption_long)


@pytest.mark.parametrize("name", SEEDS)
def test_the_renderer_draws_the_picture_again(name: str, renderer: Renderer) -> None:
    picture = gallery()[name]
    world = LowPolyWorld(picture.world_seed, picture.theme, renderer=renderer)
    drawn = world.reset(picture.camera, picture.frame)
    assert np.array_equal(drawn, np.asarray(open_picture(picture.path)))
    for action in parse_script("w 2s"):  # there is room ahead
        world.step(action)
        assert not world.blocked


def test_unknown_names_have_no_picture() -> None:
    assert gallery_picture("atlantis") is None
    assert gallery_picture("village") is gallery()["village"]


def test_making_a_gallery_writes_what_the_index_says(tmp_path: Path) -> None:
    (made,) = make_gallery(tmp_path, {"snow": SEEDS["snow"]})
    assert gallery(tmp_path) == {"snow": made}
    assert made.to_json() == gallery()["snow"].to_json()
    assert made.path.read_bytes() == gallery()["snow"].path.read_bytes()
    assert set(json.loads((tmp_path / "gallery.json").read_text())) == {"pictures"}


def test_a_view_with_things_is_rated_above_an_empty_one(renderer: Renderer) -> None:
    world = LowPolyWorld(SEEDS["village"], "village", renderer=renderer)
    camera, frame = choose_view(world)
    chosen = world.reset(camera, frame)
    flat = np.broadcast_to(chosen[:1, :1], chosen.shape)
    assert rate_view(chosen) > rate_view(chosen // 4) > rate_view(flat)
