"""Relative motion undoes walking, and an action is followed by its own motion only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecraft.actions import Action, Key, motion
from gamecraft.evaluation.camera_motion import compose, relative_motion
from gamecraft.evaluation.following import LEAST_MOTION, THRESHOLD, follows
from gamecraft.trajectory import CameraState, advance, integrate

ANGLES = st.floats(-1, 1)
METRES = st.floats(-3, 3)
STATES = st.builds(CameraState, position=st.tuples(METRES, METRES, METRES), yaw=st.floats(-6, 6), pitch=ANGLES)
ROWS = st.tuples(METRES, METRES, METRES, ANGLES, st.floats(-0.04, 0.04)).map(np.array)


def between(start: CameraState, end: CameraState) -> np.ndarray:
    return relative_motion(start.pose()[None], end.pose()[None])[0]


@given(STATES, METRES, METRES, METRES)
def test_motion_of_a_straight_walk_is_the_walk(start: CameraState, right: float, down: float, forward: float) -> None:
    walk = np.array([right, down, forward, 0, 0])
    assert between(start, advance(start, walk)) == pytest.approx(walk, abs=1e-9)


@given(STATES, st.floats(-3.1, 3.1))
def test_motion_of_a_turn_is_the_turn(start: CameraState, yaw: float) -> None:
    assert between(start, advance(start, np.array([0, 0, 0, yaw, 0]))) == pytest.approx([0, 0, 0, yaw, 0], abs=1e-9)


@given(STATES, st.lists(ROWS, min_size=1, max_size=5))
def test_steps_compose_to_the_whole(start: CameraState, rows: list[np.ndarray]) -> None:
    poses, _ = integrate(np.array(rows), start)
    track = np.concatenate([start.pose()[None], poses])
    steps = relative_motion(track[:-1], track[1:])
    whole = relative_motion(track[:1], track[-1:])[0]
    turned = compose(steps)
    turned[3] = (turned[3] + np.pi) % (2 * np.pi) - np.pi
    difference = turned - whole
    difference[3] = np.sin(difference[3])  # plus and minus half a turn are the same
    assert difference == pytest.approx(np.zeros(5), abs=1e-9)


NAMES = ["w", "s", "a", "d", "space", "ctrl", "left", "right", "up", "down", "w+left", "w+d", "s+a+up"]


def commanded(name: str) -> tuple[Action, np.ndarray]:
    action = Action(keys=frozenset(Key(key) for key in name.split("+")))
    return action, motion([action] * 9).sum(axis=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_true_motion_follows_and_its_opposite_and_rest_do_not(name: str) -> None:
    action, asked = commanded(name)
    assert follows(action, asked, asked)
    assert follows(action, asked, 0.5 * asked)
    assert not follows(action, asked, -asked)
    assert not follows(action, asked, np.zeros(5))
    assert not follows(action, asked, 0.9 * THRESHOLD * asked)
    assert follows(action, asked, 1.1 * LEAST_MOTION * asked, LEAST_MOTION)
    assert not follows(action, asked, 0.9 * LEAST_MOTION * asked, LEAST_MOTION)


def test_single_keys_are_told_apart() -> None:
    singles = [name for name in NAMES if "+" not in name]
    for name in singles:
        action, asked = commanded(name)
        followed = [other for other in singles if follows(action, asked, commanded(other)[1])]
        assert followed == [name]


def test_the_commanded_direction_must_be_the_nearest() -> None:
    action, asked = commanded("w")
    assert follows(action, asked, asked + np.array([0.9, 0, 0, 0, 0]) * asked[2])
    assert not follows(action, asked, asked + np.array([1.1, 0, 0, 0, 0]) * asked[2])


def test_a_combination_needs_all_of_its_motions() -> None:
    action, asked = commanded("w+left")
    assert not follows(action, asked, asked * [1, 1, 1, 0, 1])
    assert not follows(action, asked, asked * [1, 1, 0, 1, 1])
    action, asked = commanded("w+d")
    assert not follows(action, asked, asked * [0, 1, 1, 1, 1])


def test_nothing_is_asked_of_an_idle_action() -> None:
    assert follows(Action(), np.zeros(5), np.ones(5))
