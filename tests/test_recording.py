"""Recordings of any kind become frames on a regular grid."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gamecraft.curation.recording import probe, read_grid
from gamecraft.errors import InputError
from gamecraft.video import write_video


def numbered(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames whose brightness is their number times 4."""
    return np.broadcast_to(4 * np.arange(count, dtype=np.uint8)[:, None, None, None], (count, height, width, 3)).copy()


def numbers(frames: object) -> list[int]:
    return [round(float(frame.mean()) / 4) for frame in frames]  # type: ignore[attr-defined]


def write_with_times(path: Path, times: list[float], frames: np.ndarray) -> None:
    """A video whose frames have these times in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1000)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv444p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time, frame in zip(times, frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    write_video(path, numbered(40), 24, crf=1)
    return path


def test_the_grid_is_the_video_at_its_own_rate(video: Path) -> None:
    assert numbers(read_grid(video, 24)) == list(range(40))


def test_any_piece_is_what_the_whole_has_there(video: Path) -> None:
    assert numbers(read_grid(video, 24, first=17, count=5)) == [17, 18, 19, 20, 21]
    assert numbers(read_grid(video, 24, first=38, count=9)) == [38, 39]
    assert numbers(read_grid(video, 24, first=400)) == []


def test_single_frames_are_those_of_the_whole(video: Path) -> None:
    assert numbers(read_grid(video, 24, first=4, count=20, wanted={3, 5, 17, 23, 24})) == [5, 17, 23]


def test_other_rates_drop_and_repeat_frames(video: Path) -> None:
    assert numbers(read_grid(video, 12)) == list(range(0, 40, 2))
    assert numbers(read_grid(video, 48, first=10, count=6)) == [5, 5, 6, 6, 7, 7]


def test_variable_rates_and_late_starts_end_on_the_grid(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    # Half a second late, a pause of four frames after frame 3, and two frames within one.
    times = [0.5 + t / 24 for t in (0, 1, 2, 3, 7, 8, 8.4, 9, 10)]
    write_with_times(path, times, numbered(9))
    assert numbers(read_grid(path, 24)) == [0, 1, 2, 3, 3, 3, 3, 4, 5, 7, 8]


def test_pictures_are_scaled_down_and_never_up(video: Path) -> None:
    assert next(read_grid(video, 24, width=32)).shape == (24, 32, 3)
    assert next(read_grid(video, 24, width=640)).shape == (48, 64, 3)


def test_odd_sizes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    write_video(path, numbered(5, 47, 63), 24)
    assert (probe(path).width, probe(path).height) == (63, 47)
    assert next(read_grid(path, 24)).shape == (47, 63, 3)


def test_a_truncated_file_ends_where_it_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "t.mkv"
    write_with_times(path, [i / 24 for i in range(40)], numbered(40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = numbers(read_grid(path, 24))
    assert found == list(range(len(found)))
    assert 5 < len(found) < 40


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    text, empty, sound = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.wav"
    text.write_text("not a video")
    empty.write_bytes(b"")
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for path, message in ((text, "cannot be read"), (empty, "cannot be read"), (sound, "no video stream")):
        with pytest.raises(InputError, match=message):
            probe(path)
    with pytest.raises(InputError, match="no video at"):
        probe(tmp_path / "none.mp4")
