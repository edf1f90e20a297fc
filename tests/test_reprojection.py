"""Pixels moved by depth and pose: identities, known shifts, and what hides what."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from gamecraft.actions import motion, parse_script
from gamecraft.intrinsics import Intrinsics
from gamecraft.reprojection import combine_squares, fetch, reproject, transfer
from gamecraft.trajectory import integrate, invert

LENS = Intrinsics()
HEIGHT, WIDTH = 24, 40


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def at_depth(metres: float) -> torch.Tensor:
    return torch.full((1, 1, HEIGHT, WIDTH), 1 / metres)


def moved(x: float = 0.0, z: float = 0.0) -> torch.Tensor:
    """From the picture's camera to one that stands x to the right and z further on."""
    pose = np.eye(4)
    pose[:3, 3] = x, 0, z
    return torch.from_numpy(invert(pose))[None, None]


def test_the_same_camera_sees_the_same_picture() -> None:
    seen, depths, covered = reproject(picture(), at_depth(3.0), moved(), LENS)
    assert bool(covered.all())
    torch.testing.assert_close(seen[:, 0], picture(), atol=1e-4, rtol=0)
    torch.testing.assert_close(depths[:, 0], at_depth(3.0))


def test_a_step_to_the_right_shifts_a_wall_by_whole_pixels() -> None:
    depth = 4.0
    pixel = depth / (LENS.fx * WIDTH)  # metres that one pixel spans at that depth
    seen, _, covered = reproject(picture(), at_depth(depth), moved(x=3 * pixel), LENS)
    torch.testing.assert_close(seen[0, 0, :, :, :-3], picture()[0, :, :, 3:], atol=1e-4, rtol=0)
    assert not covered[..., -2:].any()


def test_steps_forward_bring_a_wall_nearer_and_leave_no_holes() -> None:
    _, depths, covered = reproject(picture(), at_depth(4.0), moved(z=1.5), LENS)
    assert bool(covered.all())
    torch.testing.assert_close(depths, torch.full_like(depths, 1 / 2.5))


def test_what_is_near_hides_what_is_far_and_uncovers_what_is_unknown() -> None:
    depth = at_depth(10.0)
    depth[..., 15:25] = 1 / 2.0
    colours = torch.zeros(1, 3, HEIGHT, WIDTH)
    colours[..., 15:25] = 1.0
    step = 5 * 2.0 / (LENS.fx * WIDTH)  # the near column moves 5 pixels to the left, the wall 1
    seen, _, covered = reproject(colours, depth, moved(x=step), LENS)
    middle = seen[0, 0, 0, HEIGHT // 2]
    assert middle[11:19].min() > 0.99  # the column, where it now stands
    assert middle[:8].max() < 0.01
    assert middle[26:36].max() < 0.01
    gap = covered[0, 0, 0, HEIGHT // 2, 21:23]
    assert not gap.any()  # the wall behind where the column stood


def test_the_sky_turns_with_the_camera_and_never_comes_nearer() -> None:
    sky = torch.zeros(1, 1, HEIGHT, WIDTH)
    seen, depths, covered = reproject(picture(), sky, moved(x=5.0, z=100.0), LENS)
    torch.testing.assert_close(seen[:, 0], picture(), atol=1e-4, rtol=0)
    assert bool(covered.all())
    assert not depths.any()


def test_what_comes_much_nearer_is_too_coarse_to_be_shown() -> None:
    wall = at_depth(10.0)
    shown = [bool(reproject(picture(), wall, moved(z=step), LENS)[2][..., HEIGHT // 2, WIDTH // 2]) for step in (4, 6)]
    assert shown == [True, False]


def test_what_is_behind_the_camera_is_not_seen() -> None:
    _, _, covered = reproject(picture(), at_depth(2.0), moved(z=3.0), LENS)
    assert not covered.any()


@settings(max_examples=20, deadline=None)
@given(
    script=st.sampled_from(["w 3f", "left 4f", "d+right 3f", "s 2f, up 2f", "look:left 20deg over 2f"]),
    metres=st.floats(3, 50),
)
def test_there_and_back_is_where_it_was(script: str, metres: float) -> None:
    pose = integrate(motion(parse_script(script)))[0][-1]
    there = torch.from_numpy(invert(pose))[None, None]
    places, depths = transfer(at_depth(metres), there, LENS)
    x, y = places[0, 0].unbind(-1)
    # a pixel's point, written in the other camera, sent back
    back, depth = transfer(depths, torch.from_numpy(pose)[None, None], LENS)
    assert back.shape == (1, 1, HEIGHT, WIDTH, 2)
    assert depth.shape == (1, 1, HEIGHT, WIDTH)
    ahead = depths[0, 0] > 0
    point = torch.stack(
        [
            ((x + 1) / 2 - LENS.cx) / LENS.fx,
            ((y + 1) / 2 - LENS.cy) / LENS.fy,
            torch.ones_like(x),
            depths[0, 0],
        ],
        dim=-1,
    )
    home = (point.double() / depths[0, 0, ..., None].double()) @ torch.from_numpy(pose).T
    torch.testing.assert_close(home[ahead][:, 2].float(), torch.full((int(ahead.sum()),), metres), rtol=1e-3, atol=1e-3)


def test_pictures_are_read_between_their_pixels() -> None:
    ramp = torch.arange(WIDTH, dtype=torch.float32).expand(1, 1, HEIGHT, WIDTH).contiguous()
    x = (torch.tensor([5.0, 5.5]) + 0.5) / WIDTH * 2 - 1
    places = torch.stack([x, torch.zeros(2)], dim=-1).reshape(1, 1, 1, 2, 2)
    assert fetch(ramp, places).flatten().tolist() == pytest.approx([5.0, 5.5], abs=1e-4)


@pytest.mark.parametrize("side", [2, 3])
def test_squares_are_combined_as_pooling_does(side: int) -> None:
    x = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(combine_squares(x, side, torch.maximum), F.max_pool2d(x, side, stride=1))
    torch.testing.assert_close(combine_squares(x, side, torch.add) / side**2, F.avg_pool2d(x, side, stride=1))
