from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gamecraft.errors import InputError
from gamecraft.pictures import fit_picture, open_picture, to_frames, to_video


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 200), width=st.integers(1, 200), to=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    value=st.integers(0, 255),
)  # fmt: skip
def test_a_flat_picture_stays_flat_at_any_size(height: int, width: int, to: tuple[int, int], value: int) -> None:
    fitted = fit_picture(np.full((height, width, 3), value, np.uint8), *to)
    assert fitted.shape == (*to, 3)
    assert (fitted == value).all()


def test_a_picture_of_the_right_size_is_not_touched(picture: np.ndarray) -> None:
    assert np.array_equal(fit_picture(picture, 32, 48), picture)


def test_the_centre_is_kept_and_the_shape_of_things() -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[10:30, 50:70] = 255  # a square in the middle
    fitted = fit_picture(wide, 20, 20)
    lit = fitted[..., 0] > 127
    assert np.array_equal(lit, lit.T)
    assert lit.sum() == 100
    assert np.array_equal(lit, lit[::-1, ::-1])


def test_small_pictures_of_large_ones_are_smooth() -> None:
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit_picture(stripes, 16, 16).astype(int) - 127).max() <= 8


def test_frames_survive_the_way_to_the_network_and_back() -> None:
    frames = np.arange(256, dtype=np.uint8).repeat(12).reshape(4, 16, 16, 3)
    video = to_video(frames)
    assert video.shape == (1, 3, 4, 16, 16)
    assert (video.min(), video.max()) == (-1, 1)
    assert np.array_equal(to_frames(video), frames)
    assert (to_frames(torch.full((1, 3, 1, 2, 2), 9.0)) == 255).all()
    assert (to_frames(torch.full((1, 3, 1, 2, 2), -9.0)) == 0).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    white = Image.new("L", (8, 6), 255)
    image = Image.fromarray(np.full((6, 8), 65535, np.uint16)) if mode == "I;16" else white.convert("RGB").convert(mode)
    path = tmp_path / f"white.{'jpg' if mode == 'CMYK' else 'png'}"
    image.save(path)
    opened = open_picture(path)
    assert opened.mode == "RGB"
    assert (np.asarray(opened) >= 254).all()


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(open_picture(tmp_path / "clear.png")) == 255).all()


def test_a_photo_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert open_picture(tmp_path / "photo.jpg").size == (4, 8)


def test_what_is_no_picture_is_refused(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    for number, broken in enumerate([b"", b"text", content[:40], content[:800], b"\0" * 99]):
        path = tmp_path / f"{number}.png"
        path.write_bytes(broken)
        with pytest.raises(InputError, match=str(path)):
            open_picture(path)
    for place in ("none.png", "."):
        with pytest.raises(InputError):
            open_picture(tmp_path / place)


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_of_another_kind_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        fit_picture(array, 8, 8)
