"""What the keys, the mouse and the two speeds mean."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecraft.actions import (
    DEFAULT_MOVE_SPEED,
    DEFAULT_TURN_SPEED,
    MAX_LOOK,
    MAX_MOVE_SPEED,
    MAX_TURN_SPEED,
    Action,
    Key,
    actions_from_json,
    actions_to_json,
    key_motion,
    motion,
    smooth,
)
from gamecraft.errors import ActionError

ACTIONS = st.builds(
    Action,
    keys=st.frozensets(st.sampled_from(Key)),
    look=st.tuples(*[st.floats(-MAX_LOOK, MAX_LOOK)] * 2),
    move_speed=st.floats(0, MAX_MOVE_SPEED),
    turn_speed=st.floats(0, MAX_TURN_SPEED),
)
# Runs of equal actions among others, as players make them.
SEQUENCES = st.lists(st.tuples(ACTIONS, st.integers(1, 20)), max_size=5).map(
    lambda runs: [action for action, frames in runs for _ in range(frames)]
)


def held(*keys: str) -> Action:
    return Action(keys=frozenset(Key(key) for key in keys))


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("w", (0, 0, 1, 0, 0)),
        ("s", (0, 0, -1, 0, 0)),
        ("d", (1, 0, 0, 0, 0)),
        ("a", (-1, 0, 0, 0, 0)),
        ("space", (0, -1, 0, 0, 0)),
        ("ctrl", (0, 1, 0, 0, 0)),
        ("right", (0, 0, 0, 1, 0)),
        ("left", (0, 0, 0, -1, 0)),
        ("up", (0, 0, 0, 0, 1)),
        ("down", (0, 0, 0, 0, -1)),
    ],
)
def test_each_key_moves_or_turns_by_the_speed(key: str, row: tuple[int, ...]) -> None:
    speeds = np.array([DEFAULT_MOVE_SPEED] * 3 + [DEFAULT_TURN_SPEED] * 2)
    np.testing.assert_allclose(motion([held(key)]), [row * speeds], atol=1e-15)


@pytest.mark.parametrize("pair", [("w", "s"), ("a", "d"), ("space", "ctrl"), ("left", "right"), ("up", "down")])
def test_opposite_keys_cancel(pair: tuple[str, str]) -> None:
    assert not motion([held(*pair)]).any()


@given(ACTIONS)
@settings(deadline=None)
def test_any_combination_of_movement_keys_has_the_same_speed(action: Action) -> None:
    metres = np.linalg.norm(motion([action])[0, :3])
    assert metres == pytest.approx(0) or metres == pytest.approx(action.move_speed)


def test_walking_turning_and_the_mouse_add_up() -> None:
    action = Action(keys=frozenset({Key.W, Key.LEFT}), look=(0.3, -0.1), move_speed=0.1, turn_speed=0.05)
    np.testing.assert_allclose(motion([action]), [[0, 0, 0.1, 0.25, -0.1]])


def test_smoothing_accelerates_towards_the_keys_and_leaves_the_mouse_alone() -> None:
    walk = motion([held("w")] * 60 + [held()] * 60, smoothing=0.8)
    forward = walk[:, 2]
    assert (np.diff(forward[:60]) > 0).all()
    assert (np.diff(forward[60:]) < 0).all()
    assert forward[0] == pytest.approx(0.2 * DEFAULT_MOVE_SPEED)
    assert forward[59] == pytest.approx(DEFAULT_MOVE_SPEED, rel=1e-5)
    assert forward.sum() == pytest.approx(60 * DEFAULT_MOVE_SPEED, rel=1e-5)  # what starts late also stops late
    look = motion([Action(look=(0.1, 0.0)), Action()], smoothing=0.8)
    np.testing.assert_allclose(look[:, 3], [0.1, 0.0])


@given(SEQUENCES, st.integers(0, 100), st.floats(0, 0.99))
@settings(deadline=None, max_examples=50)
def test_smoothing_in_pieces_equals_smoothing_at_once(actions: list[Action], cut: int, smoothing: float) -> None:
    rows = key_motion(actions)
    first = smooth(rows[:cut], smoothing)
    second = smooth(rows[cut:], smoothing, first[-1] if len(first) else None)
    np.testing.assert_array_equal(np.concatenate([first, second]), smooth(rows, smoothing))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ActionError, match="smoothing is"):
        motion([held("w")], smoothing)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keys": frozenset({"q"})}, "unknown key 'q'; the keys are w, a, s, d, space"),
        ({"move_speed": 0.6}, "move_speed is 0.6, expected 0 to 0.5 metres per frame"),
        ({"move_speed": -0.1}, "move_speed is -0.1"),
        ({"turn_speed": math.nan}, "turn_speed is nan"),
        ({"turn_speed": "fast"}, "turn_speed must be a number in radians per frame, received 'fast'"),
        ({"look": (4.0, 0.0)}, "look is 4.0, expected -3.14159 to 3.14159"),
        ({"look": (0.0, math.inf)}, "look is inf"),
        ({"look": (1.0,)}, "look needs two numbers"),
    ],
)
def test_impossible_actions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ActionError, match=message):
        Action(**fields)  # type: ignore[arg-type]


@given(SEQUENCES)
@settings(deadline=None)
def test_json_keeps_every_bit(actions: list[Action]) -> None:
    assert actions_from_json(actions_to_json(actions)) == actions


def test_json_is_run_length_encoded() -> None:
    assert json.loads(actions_to_json([held("w", "d")] * 48 + [held()])) == {
        "version": 1,
        "runs": [{"frames": 48, "keys": ["d", "w"]}, {"frames": 1}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"version": 2, "runs": []}', "expected actions as"),
        ('{"version": 1, "runs": [{"frames": 1}, {"frames": 0}]}', "run 1 .* frames must be a whole number from 1"),
        ('{"version": 1, "runs": [{"frames": 1, "keys": ["q"]}]}', "run 0 .* unknown key 'q'"),
        ('{"version": 1, "runs": [{"frames": 1, "speed": 1}]}', "unknown field 'speed'; the fields are frames, keys"),
        ('{"version": 1, "runs": [{"frames": 1, "move_speed": 1e999}]}', "move_speed is inf"),
        ('{"version": 1, "runs": [{"frames": 1, "look": [1' + "0" * 400 + ", 0]}]}", "look is 10000"),
        ('{"version": 1, "runs": [{"frames": 86401}]}', "longer than 86400 frames"),
        ('{"version": 1, "runs": [{"frames": 86400}, {"frames": 1}]}', "longer than 86400 frames"),
    ],
)
def test_json_that_is_not_actions_is_refused(text: str, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        actions_from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["frames", "keys", "look", "move_speed", "turn_speed"])
RUNS = st.lists(st.dictionaries(FIELDS, JSON | st.integers(1, 9), max_size=5), max_size=3)


@given(RUNS | JSON)
@settings(deadline=None)
def test_any_json_is_actions_or_an_action_error(runs: object) -> None:
    try:
        actions_from_json(json.dumps({"version": 1, "runs": runs}))
    except ActionError:
        return
