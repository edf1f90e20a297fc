"""Video files: what is written comes back, and nothing half-written stays."""

from pathlib import Path

import numpy as np
import pytest

from gamecraft.errors import InputError
from gamecraft.video import VideoWriter, read_video, write_video


def _gradient(frames: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([np.stack([x * 2 + 5 * t, y * 3, x + y], -1) % 256 for t in range(frames)]).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(48, 80), (47, 81)])
def test_frames_survive_within_the_codecs_error(tmp_path: Path, height: int, width: int) -> None:
    frames = _gradient(5, height, width) // 2 + 60
    write_video(tmp_path / "a.mp4", frames, 24, crf=8)
    back, fps = read_video(tmp_path / "a.mp4")
    assert fps == 24
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames.astype(int)).mean() < 3


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, 6, 10, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    files = set()
    for number in range(6):
        junk = [np.random.default_rng(number).bytes(48 * 80 * 4) for _ in range(50)]  # other contents of free memory
        del junk
        write_video(tmp_path / "a.mp4", frames, 24, crf=10)
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


def test_the_last_frames_are_the_tail_of_all_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", _gradient(12, 48, 80), 24)
    everything, _ = read_video(tmp_path / "a.mp4")
    tail, _ = read_video(tmp_path / "a.mp4", last=4)
    np.testing.assert_array_equal(tail, everything[-4:])


def test_an_error_leaves_no_file_and_ctrl_c_keeps_the_frames(tmp_path: Path) -> None:
    frames = _gradient(3, 48, 80)
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 24) as writer:
        writer.add(frames)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "b.mp4", 24) as writer:
        writer.add(frames)
        raise KeyboardInterrupt
    assert len(read_video(tmp_path / "b.mp4")[0]) == 3


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video at"):
        read_video(tmp_path / "missing.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is not a video")
    with pytest.raises(InputError, match="cannot be read"):
        read_video(broken)
