"""Pluecker rays: what they are, and that they do not depend on how they are asked for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.rays import chunk_rays, pixel_directions, plucker_rays
from gamecraft.trajectory import CameraState
from test_trajectory import POSES, Array, poses_of

LENSES = st.builds(
    Intrinsics, fx=st.floats(0.2, 3), fy=st.floats(0.2, 3), cx=st.floats(0.2, 0.8), cy=st.floats(0.2, 0.8)
)


@given(POSES, LENSES, st.integers(1, 7), st.integers(1, 7))
@settings(deadline=None, max_examples=50)
def test_directions_are_unit_and_moments_stand_on_them(
    parts: list[tuple[Array, Array]], lens: Intrinsics, height: int, width: int
) -> None:
    poses = torch.from_numpy(poses_of(parts))
    moment, direction = plucker_rays(poses, lens, height, width).double().chunk(2, dim=1)
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(len(parts), height, width).double(), atol=1e-6, rtol=0)
    assert (moment * direction).sum(dim=1).abs().max() < 1e-4  # metres, 100 m from the origin
    expected = torch.linalg.cross(poses[:, :3, 3, None, None].expand_as(direction), direction, dim=1)
    torch.testing.assert_close(moment, expected, atol=1e-4, rtol=0)


def test_the_picture_s_middle_looks_forward_and_its_corners_to_the_sides() -> None:
    lens = Intrinsics()
    rays = pixel_directions(lens, 3, 5)
    assert rays[:, 1, 2].tolist() == pytest.approx([0, 0, 1])
    left, top = -0.4 / lens.fx, -(1 / 3) / lens.fy  # pixel centres are half a pixel inside the border
    corner = np.array([left, top, 1]) / math.sqrt(left**2 + top**2 + 1)
    np.testing.assert_allclose(rays[:, 0, 0], corner, rtol=1e-6)


def test_every_point_of_a_line_of_sight_has_the_same_ray() -> None:
    here, there = CameraState(position=(1, 2, 3), yaw=0.4), CameraState(position=(1, 2, 3), yaw=0.4)
    poses = np.stack([here.pose(), there.pose()])
    poses[1, :3, 3] += 7 * poses[1, :3, 2]  # straight on
    rays = plucker_rays(torch.from_numpy(poses), Intrinsics(), 3, 3)
    torch.testing.assert_close(rays[0, :, 1, 1], rays[1, :, 1, 1], atol=1e-5, rtol=0)
    assert (rays[0, :, 0, 0] - rays[1, :, 0, 0]).abs().max() > 0.1


def test_leading_dimensions_and_the_number_of_frames_change_no_bit() -> None:
    poses = torch.from_numpy(poses_of([(np.random.default_rng(i).normal(size=4), np.ones(3) * i) for i in range(12)]))
    together = plucker_rays(poses.reshape(2, 2, 3, 4, 4), Intrinsics(), 6, 10)
    assert together.shape == (2, 2, 3, 6, 6, 10)
    assert together.dtype == torch.float32
    for i, rays in enumerate(together.flatten(0, 2)):
        assert torch.equal(rays, plucker_rays(poses[i : i + 1], Intrinsics(), 6, 10)[0])


def test_autocast_does_not_round_rays() -> None:
    poses = torch.from_numpy(CameraState(position=(3, 1, 2), yaw=0.7, pitch=0.2).pose())[None]
    expected = plucker_rays(poses, Intrinsics(), 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plucker_rays(poses, Intrinsics(), 8, 8), expected)


def test_three_frames_are_like_any_other_number() -> None:
    poses = torch.from_numpy(np.stack([CameraState(position=(i, 1.0, 2.0)).pose() for i in range(4)]))
    assert torch.equal(plucker_rays(poses[:3], Intrinsics(), 3, 3), plucker_rays(poses, Intrinsics(), 3, 3)[:3])


def test_a_chunk_is_seen_from_its_reference_however_far_away() -> None:
    reference = CameraState(position=(0, 0, 0), yaw=0.3)
    near = np.stack([CameraState(position=(0.1 * i, 0, 0.2 * i), yaw=0.3 + 0.02 * i).pose() for i in range(1, 5)])
    offset = np.eye(4)
    offset[:3, 3] = (1e6, -10, 1e6)
    here = chunk_rays(near, reference.pose(), Intrinsics(), 6, 10)
    assert here.shape == (4, 6, 6, 10)
    torch.testing.assert_close(chunk_rays(offset @ near, offset @ reference.pose(), Intrinsics(), 6, 10), here)
    at_rest = chunk_rays(reference.pose()[None], reference.pose(), Intrinsics(), 6, 10)[0]
    assert at_rest[:3].abs().max() < 1e-12
    torch.testing.assert_close(at_rest[3:], pixel_directions(Intrinsics(), 6, 10))


@pytest.mark.parametrize("fields", [{"fx": 0.0}, {"fy": -1.0}, {"cx": math.nan}, {"fx": math.inf}])
def test_lenses_that_are_none_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InputError, match="intrinsics need finite numbers and focal lengths above 0"):
        Intrinsics(**fields)


def test_directions_that_are_kept_can_be_trained_with_wherever_they_were_first_asked_for() -> None:
    with torch.inference_mode():
        directions = pixel_directions(Intrinsics(fx=0.77), 3, 5)
    assert not directions.is_inference()
    assert pixel_directions(Intrinsics(fx=0.77), 3, 5) is directions
