"""Step responses of known motions."""

import numpy as np
import pytest

from gamecraft.errors import InputError
from gamecraft.evaluation.response import delay, gains

WALK = np.tile([0, 0, 0.2, 0, 0], (9, 1))
TURN = np.tile([0, 0, 0, 0.035, 0], (9, 1))


def test_what_is_asked_for_has_gain_one_and_its_opposite_minus_one() -> None:
    for commanded in (WALK, TURN, WALK + TURN):
        assert gains(commanded, commanded) == pytest.approx(1)
        assert gains(commanded, -0.5 * commanded) == pytest.approx(-0.5)
        assert gains(commanded, 0 * commanded) == pytest.approx(0)


def test_other_motion_does_not_count() -> None:
    assert gains(WALK, TURN) == pytest.approx(0)
    assert gains(WALK + TURN, WALK) == pytest.approx(0.5)
    assert gains(WALK, WALK + TURN) == pytest.approx(1)


def test_standing_is_asked_for_too() -> None:
    still = np.zeros((9, 5))
    assert gains(still, still) == pytest.approx(1)
    assert gains(still, WALK) == pytest.approx(0)
    assert gains(still, 2 * TURN) == pytest.approx(-1)


def test_delay_is_when_half_of_the_motion_is_seen() -> None:
    assert delay(np.ones(9)) == 0
    assert delay(np.array([-1, 0, 0, 1, 1, 1, 1, 1, 1])) == 2
    assert delay(np.zeros(9)) == 9
    assert delay(np.array([1.0])) == 0


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        gains(WALK, WALK[:-1])
