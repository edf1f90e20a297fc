"""The compact action script: what it means, that it round trips, and what is said about mistakes."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gamecraft.actions import MAX_TURN_SPEED, Action, Key, format_script, motion, parse_script
from gamecraft.errors import ActionError
from test_actions import SEQUENCES


def keys(text: str) -> list[str]:
    return ["+".join(sorted(action.keys)) for action in parse_script(text)]


def total(text: str) -> list[float]:
    return [float(v) for v in motion(parse_script(text)).sum(axis=0)]


def test_durations_are_seconds_or_frames() -> None:
    assert len(parse_script("w 2s")) == 48
    assert len(parse_script("w 2s", fps=30)) == 60
    assert len(parse_script("w 0.5s, idle 3f")) == 15
    assert keys("w 1f, w+d 2f, idle 1f") == ["w", "d+w", "d+w", ""]


def test_case_and_spaces_do_not_matter() -> None:
    assert parse_script(" W+Left\n2S ,\tidle over 1F ") == parse_script("w + left 2s, idle 1f")


def test_look_is_an_angle_spread_over_the_duration() -> None:
    assert total("look:right 45deg over 20f") == pytest.approx([0, 0, 0, math.radians(45), 0])
    assert total("w + look:up 10deg + look:left 5deg over 1s") == pytest.approx(
        [0, 0, 24 * 0.2, -math.radians(5), math.radians(10)]
    )


def test_speeds_are_set_per_item() -> None:
    assert total("w 10f speed 0.3, w 10f") == pytest.approx([0, 0, 5, 0, 0])
    assert total("w+left 10f speed 0.1 turn 3deg") == pytest.approx([0, 0, 1, -math.radians(30), 0])
    assert parse_script("left 1f turn 8deg")[0].turn_speed == MAX_TURN_SPEED


def test_repetition_nests() -> None:
    assert keys("2x(w 1f, 2x(a 1f), d 1f), s 1f") == [*"waadwaad", "s"]


def test_scripts_are_written_compactly() -> None:
    actions = parse_script("w 1s, w 1s, d+w 12f speed 0.3, look:right 45deg 20f, idle 10f turn 3deg")
    assert format_script(actions) == "w 48f, w + d 12f speed 0.3, look:right 45deg 20f, idle 10f turn 3deg"
    assert format_script(actions, fps=24).startswith("w 2s, w + d 12f")


@given(SEQUENCES.filter(bool), st.sampled_from([None, 24, 25]))
@settings(deadline=None)
def test_scripts_round_trip(actions: list[Action], fps: int | None) -> None:
    again = parse_script(format_script(actions, fps), fps or 24)
    assert [(a.keys, a.move_speed) for a in again] == [(a.keys, a.move_speed) for a in actions]
    np.testing.assert_allclose([a.look for a in again], [a.look for a in actions], rtol=1e-11)
    np.testing.assert_allclose([a.turn_speed for a in again], [a.turn_speed for a in actions], rtol=1e-11)


def test_no_actions_have_no_script() -> None:
    with pytest.raises(ActionError, match="no script for no actions"):
        format_script([])


def test_an_error_points_at_the_place() -> None:
    with pytest.raises(ActionError) as error:
        parse_script("w 2s,\n  jump 1s, a 1s")
    message, line, caret = str(error.value).split("\n")
    assert message.startswith("unknown key 'jump'; the keys are " + ", ".join(Key))
    assert line[caret.index("^") :].startswith("jump 1s")


def test_an_error_in_a_long_script_shows_its_surroundings_only() -> None:
    with pytest.raises(ActionError) as error:
        parse_script("w 1s, " * 1000 + "jump 1s" + ", w 1s" * 1000)
    _, line, caret = str(error.value).split("\n")
    assert len(line) < 120
    assert line[caret.index("^") :].startswith("jump 1s")


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("w", "expected a duration such as 2s or 48f, but the script ends here", 1),
        ("w 2", "expected the unit of the duration, s or f", 3),
        ("w 2m", "expected the unit of the duration", 3),
        ("w -2s", "expected a duration", 2),
        ("w 1.5f", "whole number", 2),
        ("w 0s", "shorter than one frame at 24 frames per second", 2),
        ("w 0.01s", "shorter than one frame", 2),
        ("w 3601s", "a script can last 86400 frames", 2),
        ("w 9e999s", "a script can last 86400 frames", 2),
        ("w 3600s, a 1f", "longer than 86400 frames", 9),
        ("w 1s a 1s", "expected a comma or the end of the script", 5),
        ("w 1s,", "expected a key", 5),
        ("w+ 1s", "expected a key", 3),
        ("idle+w 1s", "expected a duration", 4),
        ("look:right over 1s", "expected an angle such as 45deg", 11),
        ("look:right 45 over 1s", "expected deg", 14),
        ("look:back 45deg 1s", "unknown key 'look:back'", 0),
        ("look:up 500deg 2f", "more than 180 degrees in one frame", 0),
        ("look:up 9e999deg + look:down 9e999deg 2f", "more than 180 degrees in one frame", 0),
        ("w 1s speed 0.9", "0.9 is out of range, expected 0 to 0.5 metres per frame", 11),
        ("w 1s turn 9deg", "9 is out of range, expected 0 to 8 degrees per frame", 10),
        ("w 1s turn 9", "9 is out of range", 10),
        ("3 (w 1s)", "expected x and a parenthesis", 2),
        ("3x w 1s", "expected a parenthesis", 3),
        ("3x(w 1s", "expected a comma or a closing parenthesis, but the script ends here", 7),
        ("0x(w 1s)", "whole number from 1", 0),
        ("1.5x(w 1s)", "whole number from 1", 0),
        ("60x(w 61s)", "the repetition is longer than 86400 frames", 0),
        ("1x(" * 9 + "w 1s" + ")" * 9, "nested more than 8 deep", 24),
        ("w 1s ♥", "expected a comma or the end", 5),
    ],
)
def test_mistakes_are_explained(text: str, message: str, place: int) -> None:
    with pytest.raises(ActionError, match=message) as error:
        parse_script(text)
    assert str(error.value).split("\n")[1:] == [f"  {text}", f"  {' ' * place}^"]


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_script_is_refused(text: str) -> None:
    with pytest.raises(ActionError, match="the script is empty"):
        parse_script(text)


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf])
def test_frame_rates_that_are_none_are_refused(fps: float) -> None:
    with pytest.raises(ActionError, match="fps is"):
        parse_script("w 1s", fps)


WORDS = [
    "w",
    "a",
    "left",
    "idle",
    "look:up",
    "jump",
    "+",
    ",",
    "(",
    ")",
    "1",
    "0.5",
    "9e99",
    "x",
    "s",
    "f",
    "deg",
    "over",
]


@given(st.text() | st.lists(st.sampled_from([*WORDS, "speed", "turn", "\n", "é"]), max_size=12).map(" ".join))
@settings(deadline=None, max_examples=200)
@example("9" * 5000 + "s")
@example("1x(" * 5000)
@example("w 1e5s")
def test_any_text_is_a_script_or_an_action_error(text: str) -> None:
    try:
        assert parse_script(text)
    except ActionError:
        return
