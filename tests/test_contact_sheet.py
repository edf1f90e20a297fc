from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gamecraft.actions import Action, Key
from gamecraft.contact_sheet import Cell, contact_sheet, draw_action, sample_frames, write_sheet

LIT = (200, 150, 50)


def lit_pixels(action: Action) -> np.ndarray:
    """Where the keys' light is, in a black picture."""
    pixels = np.asarray(draw_action(Image.new("RGB", (240, 144)), action)).astype(int)
    found: np.ndarray = (pixels[..., 0] > LIT[0]) & (pixels[..., 1] > LIT[1]) & (pixels[..., 2] < 120)
    return found


def test_nothing_is_lit_when_nothing_is_held() -> None:
    assert not lit_pixels(Action()).any()


@pytest.mark.parametrize("key", Key)
def test_each_key_lights_its_own_place(key: Key) -> None:
    alone = lit_pixels(Action(keys=frozenset({key})))
    others = lit_pixels(Action(keys=frozenset(Key) - {key}))
    assert alone.sum() > 50
    assert not (alone & others).any()


def test_the_mouse_dot_goes_where_the_mouse_goes() -> None:
    def centre(look: tuple[float, float]) -> np.ndarray:
        mean: np.ndarray = np.argwhere(lit_pixels(Action(look=look))).mean(axis=0)
        return mean

    up, down, left, right = (centre(look) for look in ((0, 0.1), (0, -0.1), (-0.1, 0), (0.1, 0)))
    assert up[0] < left[0] < down[0]
    assert left[1] < up[1] < right[1]


@given(total=st.integers(1, 5000), count=st.integers(1, 40))
def test_sampled_frames_are_spread_from_first_to_last(total: int, count: int) -> None:
    frames = sample_frames(total, count)
    assert len(frames) == min(total, count)
    assert frames[0] == 0
    assert frames == sorted(set(frames))
    assert count == 1 or frames[-1] == total - 1


@pytest.mark.parametrize(("height", "width"), [(96, 160), (33, 17), (300, 400)])
def test_pictures_keep_their_shape_in_rows(height: int, width: int, tmp_path: Path) -> None:
    frame = np.full((height, width, 3), 128, np.uint8)
    cells = [Cell(frame=frame, caption="a very long caption " * 9, action=Action() if i else None) for i in range(5)]
    one, two = contact_sheet(cells[:1], 3), contact_sheet(cells, 3)
    assert (one.width - 6) * 3 == two.width - 6
    assert (one.height - 6) * 2 == two.height - 6
    shown = np.asarray(one) == 128
    rows, columns = shown.all(axis=2).any(axis=1).sum(), shown.all(axis=2).any(axis=0).sum()
    assert columns / rows == pytest.approx(width / height, rel=0.03)
    write_sheet(tmp_path / "sheet.png", cells)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
