"""Trajectory errors are zero up to a similarity, and have known values for known mistakes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecraft.errors import InputError
from gamecraft.evaluation.trajectory_error import (
    Similarity,
    absolute_errors,
    align,
    relative_errors,
    rotation_angles,
    umeyama,
)
from gamecraft.trajectory import CameraState, integrate

POINTS = np.random.default_rng(0).normal(size=(20, 3))
TURN = CameraState(yaw=0.7, pitch=-0.3).pose()[:3, :3]
PATH = integrate(np.random.default_rng(1).normal(0, 0.1, (12, 5)))[0]


@settings(deadline=None)
@given(st.floats(0.1, 10), st.floats(-3, 3), st.floats(-1, 1))
def test_alignment_recovers_a_similarity(scale: float, yaw: float, pitch: float) -> None:
    rotation, shift = CameraState(yaw=yaw, pitch=pitch).pose()[:3, :3], np.array([3.0, -2, 1])
    found = umeyama(POINTS, scale * POINTS @ rotation.T + shift)
    assert found.scale == pytest.approx(scale)
    assert found.rotation == pytest.approx(rotation, abs=1e-9)
    assert found.translation == pytest.approx(shift, abs=1e-8)


def test_the_mirror_image_of_a_flat_shape_is_reached_by_turning_it_over() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]])
    found = umeyama(points, np.array([[0, 0, 0], [-1, 0, 0], [0, 2, 0]]))
    assert found.rotation == pytest.approx(np.diag([-1, 1, -1]), abs=1e-9)
    assert found.scale == pytest.approx(1)


def test_alignment_never_mirrors() -> None:
    found = umeyama(POINTS, POINTS * (-1, 1, 1))
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_errors_vanish_for_the_same_path_in_another_world() -> None:
    other = Similarity(scale=3.0, rotation=TURN, translation=np.array([1.0, 2, 3])).apply(PATH)
    aligned = align(other, PATH)
    assert absolute_errors(aligned, PATH) == pytest.approx(0, abs=1e-9)
    metres, radians = relative_errors(aligned, PATH, delta=2)
    assert len(metres) == len(PATH) - 2
    assert metres == pytest.approx(0, abs=1e-9)
    assert radians == pytest.approx(0, abs=1e-7)
    assert absolute_errors(other, PATH).min() > 0.5


def test_relative_errors_of_steps_that_are_too_long_and_turn_too_far() -> None:
    true = integrate(np.tile([0, 0, 0.2, 0, 0], (5, 1)))[0]
    long = integrate(np.tile([0, 0, 0.3, 0, 0], (5, 1)))[0]
    assert relative_errors(long, true)[0] == pytest.approx(0.1)
    assert relative_errors(long, true, delta=3)[0] == pytest.approx(0.3)
    turning = integrate(np.tile([0, 0, 0.2, math.radians(3), 0], (5, 1)))[0]
    assert relative_errors(turning, true)[1] == pytest.approx(math.radians(3))


def test_small_and_large_angles_are_exact() -> None:
    for angle in (1e-8, 0.3, 3.0, math.pi - 1e-8):
        pose = CameraState(yaw=angle).pose()
        assert rotation_angles(pose[None, :3, :3]) == pytest.approx(angle, rel=1e-6)


def test_a_path_without_size_is_only_shifted() -> None:
    standing = np.tile(np.eye(4), (12, 1, 1))
    assert umeyama(standing[:, :3, 3], PATH[:, :3, 3]).scale == 1
    assert umeyama(PATH[:, :3, 3], standing[:, :3, 3]).scale == 1
    assert absolute_errors(align(standing, PATH), PATH) == pytest.approx(
        np.linalg.norm(PATH[:, :3, 3] - PATH[:, :3, 3].mean(axis=0), axis=1)
    )


def test_paths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[11, 4, 4\] cannot be compared"):
        absolute_errors(PATH[:-1], PATH)
    with pytest.raises(InputError, match="over 12 pose"):
        relative_errors(PATH, PATH, delta=12)
    with pytest.raises(InputError, match="two sets"):
        umeyama(POINTS, POINTS[:3])
    with pytest.raises(InputError, match="finite"):
        umeyama(POINTS * math.nan, POINTS)
