"""Black bars, head-up displays, lenses and text."""

import cv2
import numpy as np
import pytest

from curation_material import pan, write_raw
from gamecraft.curation.borders import Borders, content_box, hud_cells
from gamecraft.curation.lens import lens_window, window_lens
from gamecraft.curation.store import Store, Unit
from gamecraft.intrinsics import Intrinsics


def big(frames: np.ndarray) -> np.ndarray:
    """Frames at 320x192."""
    return np.stack([cv2.resize(frame, (320, 192), interpolation=cv2.INTER_CUBIC) for frame in frames])


def test_a_lens_sees_through_its_own_window() -> None:
    wide, narrow = Intrinsics(fx=0.4, fy=0.7), Intrinsics(fx=0.5, fy=0.9, cx=0.45)
    window = lens_window(wide, narrow)
    assert 0 < window[0] < window[2] < 1
    again = window_lens(wide, window)
    np.testing.assert_allclose([again.fx, again.fy, again.cx, again.cy], [0.5, 0.9, 0.45, 0.5])
    assert lens_window(wide, wide) == pytest.approx((0, 0, 1, 1))


def test_bars_are_found_in_pairs_only() -> None:
    frames = pan(1, 8, step=12)
    assert content_box(frames, 0.02) == (0, 0, 1, 1)
    barred = frames.copy()
    barred[:, :12] = barred[:, -12:] = 0
    assert content_box(barred, 0.02) == pytest.approx((0, 0.125, 1, 0.875))
    only_above = frames.copy()
    only_above[:, :12] = 0
    assert content_box(only_above, 0.02) == (0, 0, 1, 1)


def test_a_hud_is_what_stays_while_the_picture_moves() -> None:
    frames = big(pan(1, 8, step=12))
    assert not hud_cells(frames).any()
    covered = frames.copy()
    covered[:, 160:] = np.where(np.indices((32, 320)).sum(axis=0) // 6 % 2, 200, 40)[..., None]  # stripes
    cells = hud_cells(covered)
    assert cells[-2:].mean() > 0.9
    assert not cells[:-3].any()
    assert hud_cells(np.repeat(frames[:1], 8, axis=0)) is None  # nothing moves: nobody can tell


@pytest.mark.parametrize(
    ("fx", "rows", "reason"), [(0.4, 0, None), (0.4, 20, "hud"), (0.3, 10, None), (0.7, 0, "narrow lens")]
)
def test_only_what_reaches_into_the_window_is_rejected(tmp_path, fx: float, rows: int, reason: str | None) -> None:
    frames = pan(1, 24, step=10)
    if rows:
        frames[:, -rows:] = pan(7, 1)[0, -rows:]
    lens = {"fx": fx, "fy": fx * 160 / 96, "cx": 0.5, "cy": 0.5}
    target = {"fx": 0.5, "fy": 0.5 * 160 / 96, "cx": 0.5, "cy": 0.5}
    inputs = {"first": 0, "frames": 24, "fps": 24, "lens": lens, "lens_assumed": False, "target": target}
    unit = Unit(name="a", inputs=inputs, place=str(write_raw(tmp_path, "hud", big(frames))))
    result = Borders().process(unit, Store(tmp_path))
    assert (result["rejected"] or [None])[0] == reason


def test_menus_are_read_and_walls_are_not() -> None:
    pytest.importorskip("rapidocr")
    from gamecraft.curation.text_screens import read_text

    menu = np.full((200, 320, 3), 40, np.uint8)
    for row, text in enumerate(("NEW GAME", "LOAD GAME", "OPTIONS")):
        cv2.putText(menu, text, (60, 60 + 40 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (230, 230, 230), 2, cv2.LINE_AA)
    assert read_text(menu, 0.8).upper() == "NEWGAMELOADGAMEOPTIONS"
    assert read_text(big(pan(1, 1))[0], 0.8) == ""
