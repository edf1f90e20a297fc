"""From recordings to a dataset, whole."""

import hashlib
import json
import shutil
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from curation_material import LENS, pan, write_raw
from gamecraft.actions import actions_from_json
from gamecraft.cli import main
from gamecraft.commands.curate import _SHORTCUTS
from gamecraft.curation.curate import curate
from gamecraft.curation.settings import CurationSettings, load_settings
from gamecraft.dataset import ClipDataset, ClipWriter
from gamecraft.errors import GameCraftError, InputError

pytest.importorskip("scenedetect")

SETTINGS = [
    "split.frames=12", "picture.sharpness=0.02", "text.samples=1", "poses.source=recorded", "write.clips=2",
    "write.width=80", "write.height=48", f"lens.fx={LENS.fx}", f"lens.fy={LENS.fy}",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _no_reading() -> object:
    """Reading text takes a model a second to load, and is tested on its own."""
    from gamecraft.curation import text_screens

    patch = pytest.MonkeyPatch()
    patch.setattr(text_screens, "read_text", lambda frame, confidence: "")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def settings() -> CurationSettings:
    return load_settings(None, SETTINGS)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings; the second ends with a dark scene and repeats the first one's first scene."""
    folder = tmp_path_factory.mktemp("raw")
    dark = (pan(4, 14) * 0.02).astype(np.uint8)
    write_raw(folder, "first", np.concatenate([pan(1, 26), pan(2, 26)]))
    write_raw(folder, "second", np.concatenate([pan(1, 26), pan(3, 14), dark]))
    (folder / "broken.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def dataset(raw: Path, settings: CurationSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curated") / "dataset"
    curate([raw], folder, settings)
    return folder


def contents(dataset: Path) -> dict[str, str]:
    """Hashes of the dataset's files, without the notes of how it was made."""
    return {
        str(path.relative_to(dataset)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*"))
        if path.is_file() and "curation" not in path.parts
    }


def test_what_is_good_becomes_clips_with_their_annotation(dataset: Path) -> None:
    clips = list(ClipDataset(dataset))
    # Four clips of the first recording, one of the second; forwards or backwards as balance has it.
    assert len(clips) == 5
    for clip in clips:
        assert clip.frames().shape == (12, 48, 80, 3)
        assert len(actions_from_json(clip.actions_json)) == 12
        origin, scores = json.loads(clip.provenance_json), json.loads(clip.scores_json)
        walked = clip.poses[-1, 2, 3] - clip.poses[0, 2, 3]
        assert walked == pytest.approx(-1.1 if origin["backwards"] else 1.1)
        assert hashlib.sha256(clip.path.read_bytes()).hexdigest() == clip.sha256
        assert scores["luma"] > 0.2
        assert scores["confidence"] == 1.0
        assert clip.caption_short
        assert len(clip.caption_long) >= 100
    assert {json.loads(clip.provenance_json)["backwards"] for clip in clips} == {False, True}


def test_frames_poses_and_actions_go_together(dataset: Path) -> None:
    for clip in ClipDataset(dataset):
        origin = json.loads(clip.provenance_json)
        first = 0.1 * (origin["first"] + (11 if origin["backwards"] else 0))
        assert clip.poses[0, 2, 3] == pytest.approx(first)
        keys = {"s"} if origin["backwards"] else {"w"}
        assert all(action.keys == keys for action in actions_from_json(clip.actions_json)[1:])


def test_the_datasets_library_reads_the_manifests(dataset: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()  # they leave a thread behind
    files = str(dataset / "shards" / "*" / "manifest.parquet")
    table = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    for row, clip in zip(table, ClipDataset(dataset), strict=True):
        np.testing.assert_array_equal(np.reshape(row["poses"], (-1, 4, 4)), clip.poses)
        for name in ("num_frames", "actions_json", "caption_short", "caption_long", "sha256"):
            assert row[name] == getattr(clip, name)
        assert dataset / json.loads(row["provenance_json"])["file"] == clip.path


def test_the_report_says_what_became_of_everything(dataset: Path) -> None:
    report = json.loads((dataset / "curation" / "report.json").read_text())
    rejected = {row["stage"]: row["rejected"] for row in report["funnel"]}
    assert rejected["picture"] == {"dark": 1}
    assert rejected["duplicates"] == {"duplicate": 2}
    assert report["cuts"] == 3
    assert report["left_out"][0][0] == "unreadable"
    assert "broken.mp4" in report["left_out"][0][1]
    page = (dataset / "curation" / "report.html").read_text()
    for word in ("Funnel", "Rejected: dark", "Rejected: duplicate", "data:image/png"):
        assert word in page


def test_a_second_run_does_nothing(raw: Path, dataset: Path, settings: CurationSettings) -> None:
    files = {path: path.stat().st_mtime_ns for path in (dataset / "curation").rglob("*/*.json")}
    before = contents(dataset)
    curate([raw], dataset, settings)
    assert contents(dataset) == before
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_run_that_is_stopped_anywhere_continues_to_the_same_dataset(
    raw: Path, dataset: Path, settings: CurationSettings, tmp_path: Path
) -> None:
    calls: list[int] = []

    def stop_later_each_time(*_: object) -> None:
        calls.append(1)
        if len(calls) in (3, 9, 20, 31, 45, 60):
            raise KeyboardInterrupt

    for _ in range(9):
        try:
            curate([raw], tmp_path / "again", settings, on_progress=stop_later_each_time)
            break
        except KeyboardInterrupt:
            continue
    assert len(calls) > 45
    assert contents(tmp_path / "again") == contents(dataset)


def test_a_changed_setting_redoes_only_what_depends_on_it(raw: Path, dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    files = {path: path.stat().st_mtime_ns for path in (copy / "curation").rglob("*/*.json")}
    curate([raw], copy, load_settings(None, [*SETTINGS, "balance.reverse=false"]))
    changed = {
        path.relative_to(copy / "curation").parts[0] for path, time in files.items() if path.stat().st_mtime_ns != time
    }
    assert changed == {"balance", "write"}
    assert not any(json.loads(clip.provenance_json)["backwards"] for clip in ClipDataset(copy))


def test_lost_shards_come_back_and_surplus_ones_go(
    raw: Path, dataset: Path, settings: CurationSettings, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    shutil.rmtree(copy / "shards" / "00001")
    shutil.copytree(copy / "shards" / "00000", copy / "shards" / "00007")
    (copy / "shards" / "00003.tmp99").mkdir()
    curate([raw], copy, settings)
    assert contents(copy) == contents(dataset)


def test_when_nothing_is_left_there_is_one_line(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["curate", str(raw / "broken.mp4"), "--output", str(tmp_path / "out")]
    assert main(words) == 2
    assert "no recording can be read" in capsys.readouterr().err
    assert main(["curate", str(tmp_path / "none.mp4"), "--output", str(tmp_path / "out")]) == 2
    assert "no recording or folder" in capsys.readouterr().err
    assert main(["curate", str(raw), "--output", str(tmp_path / "out"), "--set", "scenes.ratoi=4"]) == 2
    assert "scenes.ratio" in capsys.readouterr().err
    assert main(["curate", str(raw), "--output", str(tmp_path / "out"), "--redo", "lens"]) == 2
    assert "no stage 'lens' to redo; the stages are sources, measure" in capsys.readouterr().err


def test_help_names_the_defaults() -> None:
    for key, _, text in _SHORTCUTS.values():
        assert text.endswith(f"default: {attrgetter(key)(CurationSettings())}")


def test_other_peoples_datasets_are_left_alone(raw: Path, tmp_path: Path, settings: CurationSettings) -> None:
    ClipWriter(tmp_path / "mine", fps=24, height=48, width=80)
    with pytest.raises(InputError, match="not made by curation"):
        curate([raw], tmp_path / "mine", settings)


def test_a_missing_library_stops_instead_of_rejecting(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(GameCraftError, match=r"gamecraft\[curation\]"):
        curate([raw], tmp_path / "out", load_settings(None, SETTINGS))
