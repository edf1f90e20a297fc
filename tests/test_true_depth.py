"""Depths of rendered worlds: exact on the ground, and right enough to foresee the renderer's next picture."""

import numpy as np
import pytest
import torch

from gamecraft.actions import motion, parse_script
from gamecraft.intrinsics import Intrinsics
from gamecraft.pictures import to_video
from gamecraft.reprojection import reproject
from gamecraft.trajectory import CameraState, invert
from gamecraft.worlds.environment import EYE_HEIGHT, LowPolyWorld
from gamecraft.worlds.true_depth import DepthCaster

HEIGHT, WIDTH = 96, 160


@pytest.fixture(scope="module")
def world() -> LowPolyWorld:
    return LowPolyWorld(1_500_000, theme="desert")


def test_level_ground_is_as_far_as_the_eyes_are_high(world: LowPolyWorld) -> None:
    lens = Intrinsics()
    found = DepthCaster(world.scene).inverse_depth(world.state.pose(), lens, HEIGHT, WIDTH)
    down = ((np.arange(HEIGHT) + 0.5) / HEIGHT - lens.cy) / lens.fy
    ground = np.maximum(down, 0) / EYE_HEIGHT
    # whatever stands on the ground is nearer; the ground itself shows in most of the lowest rows
    nearest_rows = np.median(found[-8:], axis=1)
    np.testing.assert_allclose(nearest_rows, ground[-8:], rtol=1e-3)
    assert (found[-8:] >= ground[-8:, None] * 0.999).all()


def test_true_depths_foresee_the_next_pictures(world: LowPolyWorld) -> None:
    start = world.spawn(np.random.default_rng(3), clear_ahead=3.0)
    assert isinstance(start, CameraState)
    first = world.reset(start)
    pose = world.state.pose()
    depth = DepthCaster(world.scene).inverse_depth(pose, Intrinsics(), HEIGHT, WIDTH)
    for row in motion(parse_script("w+right 6f")):
        last = world.move(row)
    moves = torch.from_numpy(invert(world.state.pose()) @ pose)[None, None]
    pictures = to_video(np.stack([first, last]))[0].transpose(0, 1)
    seen, _, covered = reproject(pictures[:1], torch.from_numpy(depth)[None, None], moves, Intrinsics())

    def error(picture: torch.Tensor) -> float:
        return float((((picture - pictures[1]) ** 2) * covered[0, 0]).mean())

    assert float(covered.mean()) > 0.6
    assert error(seen[0, 0]) < error(pictures[0]) / 10
