"""How the camera moves, and the algebra of its poses."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gamecraft.actions import motion, parse_script
from gamecraft.errors import InputError
from gamecraft.rotations import quaternions_to_rotations, rotations_to_quaternions
from gamecraft.trajectory import (
    MAX_PITCH,
    CameraState,
    Trajectory,
    advance,
    integrate,
    interpolate,
    invert,
    relative_to,
)

Array = npt.NDArray[np.float64]

STATES = st.builds(
    CameraState,
    position=st.tuples(*[st.floats(-100, 100)] * 3),
    yaw=st.floats(-math.pi, math.pi),
    pitch=st.floats(-MAX_PITCH, MAX_PITCH),
)
MOTIONS = st.integers(1, 12).flatmap(lambda frames: arrays(np.float64, (frames, 5), elements=st.floats(-0.5, 0.5)))
# Any rotation: quaternions away from zero length.
QUATERNIONS = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: bool(np.linalg.norm(q) > 0.1))
POSES = st.lists(st.tuples(QUATERNIONS, arrays(np.float64, 3, elements=st.floats(-100, 100))), min_size=1, max_size=6)


def poses_of(parts: list[tuple[Array, Array]]) -> Array:
    poses = np.tile(np.eye(4), (len(parts), 1, 1))
    poses[:, :3, :3] = quaternions_to_rotations(np.array([q for q, _ in parts]))
    poses[:, :3, 3] = [position for _, position in parts]
    return poses


def walk(script: str) -> CameraState:
    return integrate(motion(parse_script(script)))[1]


def test_the_axes_are_right_down_forward() -> None:
    assert walk("w 10f").position == pytest.approx((0, 0, 2))
    assert walk("d 10f").position == pytest.approx((2, 0, 0))
    assert walk("space 10f").position == pytest.approx((0, -2, 0))
    assert walk("right 10f").yaw == pytest.approx(math.radians(20))
    assert walk("up 10f").pitch == pytest.approx(math.radians(20))


def test_yaw_turns_right_and_pitch_looks_up() -> None:
    right = CameraState(yaw=math.radians(90)).pose()
    np.testing.assert_allclose(right[:3, 2], [1, 0, 0], atol=1e-15)  # forward is now where right was
    np.testing.assert_allclose(right[:3, 0], [0, 0, -1], atol=1e-15)
    up = CameraState(pitch=math.radians(30)).pose()
    np.testing.assert_allclose(up[:3, 2], [0, -0.5, math.sqrt(0.75)], atol=1e-15)


def test_turning_comes_before_walking() -> None:
    state = advance(CameraState(), np.array([0, 0, 1, math.radians(90), 0]))
    assert state.position == pytest.approx((1, 0, 0))


def test_walking_stays_level_while_looking_up() -> None:
    state = advance(CameraState(pitch=1.0), np.array([0, 0, 1, 0, 0]))
    assert state.position == pytest.approx((0, 0, 1))
    state = advance(CameraState(pitch=1.0), np.array([0, 1, 0, 0, 0]))
    assert state.position == pytest.approx((0, 1, 0))


def test_the_pitch_is_clamped_and_leaves_the_limit_at_once() -> None:
    poses, end = integrate(np.array([[0, 0, 0, 0, 2.0], [0, 0, 0, 0, -0.1]]))
    assert CameraState.from_pose(poses[0]).pitch == pytest.approx(MAX_PITCH)
    assert end.pitch == pytest.approx(MAX_PITCH - 0.1)


@given(STATES)
def test_a_state_is_known_by_its_pose(state: CameraState) -> None:
    again = CameraState.from_pose(state.pose())
    np.testing.assert_allclose(again.pose(), state.pose(), atol=1e-12)


@given(STATES, MOTIONS)
@settings(deadline=None)
def test_there_is_never_any_roll(state: CameraState, rows: Array) -> None:
    poses, _ = integrate(rows, state)
    np.testing.assert_allclose(poses[:, 1, 0], 0, atol=1e-15)  # the camera's right axis stays horizontal
    np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1)


@given(STATES, MOTIONS, st.integers(0, 12))
@settings(deadline=None)
def test_walking_in_pieces_is_bitwise_walking_at_once(state: CameraState, rows: Array, cut: int) -> None:
    poses, end = integrate(rows, state)
    first, middle = integrate(rows[:cut], state)
    second, end_in_pieces = integrate(rows[cut:], middle)
    np.testing.assert_array_equal(np.concatenate([first, second]), poses)
    assert end_in_pieces == end
    np.testing.assert_array_equal(end.pose(), poses[-1])


@pytest.mark.parametrize("rows", [np.zeros(5), np.zeros((3, 4)), np.full((1, 5), np.nan)])
def test_motion_of_another_shape_is_refused(rows: Array) -> None:
    with pytest.raises(InputError, match=r"motion must be finite with shape \[frames, 5\], received shape"):
        integrate(rows)


@given(POSES, POSES)
@settings(deadline=None)
def test_relative_poses_compose(parts: list[tuple[Array, Array]], reference: list[tuple[Array, Array]]) -> None:
    poses, (origin, *_) = poses_of(parts), poses_of(reference)
    relative = relative_to(poses, origin)
    np.testing.assert_allclose(origin @ relative, poses, atol=1e-11)
    np.testing.assert_allclose(relative_to(poses[0], poses[0]), np.eye(4), atol=1e-11)
    # Moving the whole world changes nothing that is seen from inside it.
    np.testing.assert_allclose(
        relative_to(origin @ poses, origin @ poses[-1]), relative_to(poses, poses[-1]), atol=1e-10
    )
    np.testing.assert_allclose(invert(poses) @ poses, np.tile(np.eye(4), (len(poses), 1, 1)), atol=1e-11)


@given(POSES)
@settings(deadline=None)
def test_rotations_survive_as_quaternions(parts: list[tuple[Array, Array]]) -> None:
    rotations = poses_of(parts)[:, :3, :3]
    quaternions = rotations_to_quaternions(rotations)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1)
    np.testing.assert_allclose(quaternions_to_rotations(quaternions), rotations, atol=1e-14)


def test_a_quaternion_is_the_axis_times_the_sine_of_half_the_angle() -> None:
    quarter_turn = CameraState(yaw=math.radians(90)).pose()[None, :3, :3]
    np.testing.assert_allclose(rotations_to_quaternions(quarter_turn), [[0, math.sqrt(0.5), 0, math.sqrt(0.5)]])


def test_interpolation_is_even_in_position_and_angle() -> None:
    ends = Trajectory(
        poses=np.array([CameraState().pose(), CameraState(position=(4, 0, 8), yaw=1.0).pose()]),
        times=np.array([0.0, 2.0]),
        intrinsics=np.array([[0.5, 1, 0.5, 0.5], [0.7, 1, 0.5, 0.5]]),
    )
    middle = interpolate(ends, np.array([0.5]))
    np.testing.assert_allclose(middle.poses[0], CameraState(position=(1, 0, 2), yaw=0.25).pose(), atol=1e-14)
    np.testing.assert_allclose(middle.intrinsics, [[0.55, 1, 0.5, 0.5]])


@given(POSES)
@settings(deadline=None)
def test_interpolation_meets_the_given_poses(parts: list[tuple[Array, Array]]) -> None:
    trajectory = Trajectory(poses=poses_of(parts))
    np.testing.assert_allclose(interpolate(trajectory, trajectory.times).poses, trajectory.poses, atol=1e-12)
    between = np.linspace(trajectory.times[0], trajectory.times[-1] + 1e-3, 17)[:-1]
    if len(parts) > 1:
        interpolate(trajectory, between.clip(max=trajectory.times[-1]))  # a Trajectory, so its poses are rigid


def test_there_is_no_extrapolation() -> None:
    with pytest.raises(InputError, match="lasts from 0 to 0 s, received a time outside"):
        interpolate(Trajectory(poses=np.eye(4)[None]), np.array([0.1]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"poses": np.zeros((0, 4, 4))}, "at least one pose"),
        ({"poses": np.eye(4)}, r"poses must be finite with shape \['frames', 4, 4\], received shape \[4, 4\]"),
        ({"poses": np.full((1, 4, 4), np.nan)}, "poses must be finite"),
        ({"poses": np.stack([np.eye(4), np.diag([1, 1, -1, 1])])}, "pose 1 is not a rotation and a translation"),
        ({"poses": np.eye(4)[None] * 2}, "pose 0 is not a rotation"),
        ({"poses": np.diag([1e200, 1, 1, 1])[None]}, "pose 0 is not a rotation"),
        ({"poses": np.stack([np.eye(4)] * 2), "times": np.array([1.0, 1.0])}, "times must increase, but frame 1"),
        ({"poses": np.eye(4)[None], "times": np.zeros(2)}, r"times must be finite with shape \[1\]"),
        ({"poses": np.eye(4)[None], "intrinsics": np.zeros((1, 4))}, "focal lengths must be above 0"),
    ],
)
def test_trajectories_that_are_none_are_refused(fields: dict[str, Array], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trajectory(**fields)
