"""Whatever people have in their folders: bad recordings are left out with a reason, good ones become clips."""

import errno
import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from curation_material import LENS, pan, write_raw
from gamecraft.cli import main
from gamecraft.curation.recording import probe
from gamecraft.curation.store import Store
from gamecraft.dataset import ClipDataset, ClipWriter
from gamecraft.video import write_video

pytest.importorskip("scenedetect")

OPTIONS = [
    "--frames", "12", "--poses", "test_curate_bad_input:no_motion", "--width", "80", "--height", "48",
    "--set", "picture.sharpness=0.02", "--set", "text.samples=0", "--set", "assumed_fx=0.5", "--set", "focal.clips=0",
    "--set", f"lens.fx={LENS.fx * 1.8}", "--set", f"lens.fy={LENS.fy * 1.8}", "--set", "write.clips=2",
]  # fmt: skip
_UPRIGHT = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
_TURNED = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()


def no_motion(frames: np.ndarray, lens: object) -> tuple[np.ndarray, float]:
    """A pose plug-in: the camera stands still."""
    return np.tile(np.eye(4), (len(frames), 1, 1)), 1.0


def write_sound(path: Path) -> None:
    """A second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_uneven(path: Path, frames: np.ndarray) -> None:
    """A video whose frames last from 10 to 90 milliseconds."""
    times = np.cumsum(np.random.default_rng(0).integers(10, 90, len(frames)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time, frame in zip(times.tolist(), frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def turn(path: Path) -> None:
    """Say in an mp4's track header that it was recorded with the camera on its side."""
    film, header, rest = path.read_bytes().split(_UPRIGHT, 2)  # the film has such a matrix as well
    path.write_bytes(film + _UPRIGHT + header + _TURNED + rest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything."""
    folder = tmp_path_factory.mktemp("everything")
    write_video(folder / "good.mp4", pan(1, 40), 24)
    write_video(folder / "odd.mp4", pan(2, 40)[:, :95, :159], 24)
    write_uneven(folder / "uneven.mkv", pan(3, 40))
    write_video(folder / "turned.mp4", pan(4, 40), 24)
    turn(folder / "turned.mp4")
    write_video(folder / "short.mp4", pan(5, 3), 24)
    write_uneven(folder / "cut.mkv", pan(6, 60))
    os.truncate(folder / "cut.mkv", (folder / "cut.mkv").stat().st_size * 2 // 3)
    (folder / "half.mp4").write_bytes((folder / "good.mp4").read_bytes()[:300])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video")
    write_sound(folder / "sound.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "locked.mp4").write_bytes((folder / "good.mp4").read_bytes())
    (folder / "locked.mp4").chmod(0)
    (folder / "misread.mp4").write_bytes((folder / "good.mp4").read_bytes())
    (folder / "misread.json").write_text('{"intrinsics": {"fx": -1}}')
    return folder


def test_bad_recordings_are_left_out_with_a_reason(folder: Path, tmp_path: Path) -> None:
    assert probe(folder / "turned.mp4").width == 96
    dataset = tmp_path / "dataset"
    assert main(["curate", str(folder), "--output", str(dataset), *OPTIONS]) == 0
    report = json.loads((dataset / "curation" / "report.json").read_text())
    expected = {
        "short": "lasts 0.12 s, less than 0.5 s", "half": "no video stream", "empty": "cannot be read",
        "text": "cannot be read", "sound": "no video stream", "folder": "no video at", "misread": "misread.json",
        # Nothing is locked for root.
        "locked": "ermission" if os.geteuid() else "again",
    }  # fmt: skip
    told = [detail for _, detail in report["left_out"]]
    for name, text in expected.items():
        assert any(name in detail and text in detail for detail in told), (name, told)
    assert len(told) == len(expected)
    kept = {json.loads(clip.provenance_json)["recording"].rsplit("-", 1)[0] for clip in ClipDataset(dataset)}
    assert {"odd", "uneven", "turned", "cut"} < kept
    assert "left out" in (dataset / "curation" / "report.html").read_text()


def test_a_full_disk_is_one_line_and_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video, dataset = write_raw(tmp_path / "raw", "walk", pan(1, 60)), tmp_path / "dataset"
    words = ["curate", str(video), "--output", str(dataset), *OPTIONS]
    write = ClipWriter.write

    def full(self: ClipWriter, shard: int, records: list, *, replace: bool = False) -> None:
        if shard == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.folder / "shards"))
        write(self, shard, records, replace=replace)

    monkeypatch.setattr(ClipWriter, "write", full)
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "No space left" in message
    assert "Traceback" not in message
    finished = (dataset / "shards" / "00000" / "manifest.parquet").stat().st_mtime_ns
    assert len(ClipDataset(dataset)) == 2
    monkeypatch.setattr(ClipWriter, "write", write)
    assert main(words) == 0
    assert (dataset / "shards" / "00000" / "manifest.parquet").stat().st_mtime_ns == finished
    assert len(ClipDataset(dataset)) == 5
    assert Store(dataset / "curation").read("write", "00001") is not None
