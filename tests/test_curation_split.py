"""Measures, scenes, splits and the filters that need nothing else."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from curation_material import FPS, pan, write_raw
from gamecraft.curation.duplicates import Duplicates, clip_hashes
from gamecraft.curation.measure import COLUMNS, Measure, read_measures
from gamecraft.curation.phash import difference_hash, hash_bytes, hash_distances
from gamecraft.curation.picture import Picture
from gamecraft.curation.runner import Runner
from gamecraft.curation.scenes import Scenes, peaks
from gamecraft.curation.split import Split, jerks
from gamecraft.curation.store import Store, Unit

scenedetect = pytest.importorskip("scenedetect")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict, np.ndarray]:
    """A recording of three scenes, cut at frames 30 and 55, measured in two pieces."""
    folder = tmp_path_factory.mktemp("measured")
    frames = np.concatenate([pan(1, 30), pan(2, 25), pan(3, 30)])
    video = write_raw(folder, "cuts", frames)
    store = Store(folder / "curation")
    units = [
        Unit(name="cuts/0", inputs={"first": 0, "count": 40}, place=str(video)),
        Unit(name="cuts/1", inputs={"first": 40, "count": None}, place=str(video)),
    ]
    with Runner(store) as runner:
        runner.run(Measure(fps=FPS), units)
    return store, read_measures(store, ["cuts/0", "cuts/1"]), frames


def test_pieces_measure_what_the_whole_does(measured: tuple[Store, dict, np.ndarray], tmp_path: Path) -> None:
    _, columns, frames = measured
    whole = Measure(fps=FPS).process(
        Unit(name="w", inputs={"first": 0, "count": None}, place=str(write_raw(tmp_path, "w", frames))), Store(tmp_path)
    )
    assert whole["frames"] == 85
    for name in COLUMNS:
        np.testing.assert_allclose(columns[name], whole[name], err_msg=name)
    assert columns["hash"] == whole["hash"]


def test_flow_is_the_share_of_the_width_that_the_picture_moves(measured: tuple[Store, dict, np.ndarray]) -> None:
    columns = measured[1]
    assert np.median(columns["flow_x"]) == pytest.approx(-3 / 160, rel=0.1)
    assert abs(np.median(columns["flow_y"])) < 0.002


def test_scenes_end_at_cuts(measured: tuple[Store, dict, np.ndarray]) -> None:
    store = measured[0]
    result = Scenes().process(Unit(name="cuts", inputs={"segments": ["cuts/0", "cuts/1"]}), store)
    assert result["cuts"] == [30, 55]
    assert result["scenes"] == [[0, 30], [30, 55], [55, 85]]


def test_content_is_that_of_pyscenedetect(measured: tuple[Store, dict, np.ndarray]) -> None:
    _, columns, frames = measured
    statistics = scenedetect.stats_manager.StatsManager()
    detector = scenedetect.ContentDetector()
    detector.stats_manager = statistics
    times = [scenedetect.FrameTimecode(number, 24.0) for number in range(len(frames))]
    for time, frame in zip(times, frames, strict=True):
        detector.process_frame(time, frame[..., ::-1].copy())
    theirs = [statistics.get_metrics(time, ["content_val"])[0] or 0.0 for time in times]
    np.testing.assert_allclose(columns["content"], theirs, atol=3)  # ours has been through a codec


def test_a_peak_is_above_all_around_it() -> None:
    values = np.array([1.0, 9.0, 9.0, 5.0, 1.0, 1.0, 30.0, 1.0, 1.0, 6.0, 1.0, 1.0])
    assert peaks(values, ratio=1.2, least=2.0, window=2) == [6, 9]
    assert peaks(values, ratio=1.2, least=8.0, window=2) == [6]
    assert peaks(values, ratio=1.2, least=2.0, window=3) == [6]


def test_a_turn_that_flow_explains_is_no_cut(tmp_path: Path) -> None:
    store = Store(tmp_path)
    columns = {name: [0.1] * 40 for name in COLUMNS} | {"hash": ["0" * 16] * 40, "content": [10.0] * 40}
    columns["content"][20] = 50.0
    for residual, cuts in ((0.1, []), (0.8, [20])):
        columns["residual"][20] = residual
        store.write("measure", "a/0", columns)
        assert Scenes().process(Unit(name="a", inputs={"segments": ["a/0"]}), store)["cuts"] == cuts


def test_a_flash_is_no_cut_and_the_light_going_out_elsewhere_is_one(tmp_path: Path) -> None:
    frames = np.concatenate([pan(1, 24), (pan(2, 12) * 0.15).astype(np.uint8)])
    frames[12:24] = frames[12:24] * 0.6 + np.array([100, 80, 0]) * 0.4  # Doom tints the picture when something is found
    video = write_raw(tmp_path, "flash", frames)
    store = Store(tmp_path / "curation")
    with Runner(store) as runner:
        runner.run(Measure(fps=FPS), [Unit(name="a/0", inputs={"first": 0, "count": None}, place=str(video))])
    assert Scenes().process(Unit(name="a", inputs={"segments": ["a/0"]}), store)["cuts"] == [24]
    residual = read_measures(store, ["a/0"])["residual"]
    assert residual[12] < 0.4
    assert residual[24] > 0.7


def test_clips_avoid_cuts_and_jerks(measured: tuple[Store, dict, np.ndarray]) -> None:
    store = measured[0]
    inputs = {"segments": ["cuts/0", "cuts/1"], "scenes": [[0, 30], [30, 55], [55, 85]]}
    result = Split(frames=12, margin=1).process(Unit(name="cuts", inputs=inputs), store)
    assert result["clips"] == [0, 12, 31, 56, 68]
    assert result["left_over"] == 85 - 5 * 12
    flow = np.zeros((20, 2))
    flow[10:12, 0] = 0.3
    assert jerks(flow, 0.1).tolist() == [10, 12]


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"luma": 0.01}, "dark"),
        ({"luma": 0.01, "contrast": 0.1}, None),  # something is lit
        ({"bright": 0.9}, "overexposed"),
        ({"luma": 0.9}, "overexposed"),
        ({"change": 0.0}, "static"),
        ({"sharpness": 0.02}, "blurred"),
        ({}, None),
    ],
)
def test_bad_pictures_are_rejected_for_what_is_wrong(spoilt: dict, reason: str | None, tmp_path: Path) -> None:
    good = {"luma": 0.4, "bright": 0.0, "change": 0.02, "sharpness": 0.4, "flow": 0.01}
    frames = 10
    columns = {name: [{**good, **spoilt}.get(name, 0.0)] * frames for name in COLUMNS}
    store = Store(tmp_path)
    store.write("measure", "a/0", {"hash": ["0" * 16] * frames, **columns})
    unit = Unit(name="a", inputs={"segments": ["a/0"], "frames": frames, "clips": [0]})
    (clip,) = Picture().process(unit, store)["clips"]
    assert (clip["rejected"] or [None])[0] == reason


def test_a_near_wall_is_sharp_and_a_blurred_street_is_not(tmp_path: Path) -> None:
    street = cv2.resize(pan(1, 6)[0], (320, 192), interpolation=cv2.INTER_NEAREST)
    wall = cv2.resize(street[:24, :40], (320, 192), interpolation=cv2.INTER_NEAREST)
    blurred = cv2.GaussianBlur(street, (0, 0), 2.5)
    frames = np.stack([street, wall, blurred, np.full_like(street, 99)])
    video = write_raw(tmp_path, "wall", np.repeat(frames, 3, axis=0))
    unit = Unit(name="a", inputs={"first": 0, "count": None}, place=str(video))
    sharpness = np.reshape(Measure(fps=FPS).process(unit, Store(tmp_path))["sharpness"], (4, 3)).mean(axis=1)
    assert sharpness[:2].min() > 0.5
    assert sharpness[2] < 0.3
    assert sharpness[3] == 0


def test_hashes_tell_pictures_apart() -> None:
    one, other = pan(1, 1)[0, ..., 0], pan(2, 1)[0, ..., 0]
    noisy = np.clip(one.astype(int) + np.random.default_rng(0).integers(-4, 5, one.shape), 0, 255).astype(np.uint8)
    codes = hash_bytes([difference_hash(np.ascontiguousarray(grey)) for grey in (one, noisy, other)])
    near, far = hash_distances(codes[0], codes[1:])
    assert near <= 4
    assert far >= 16


def test_the_first_of_equal_clips_stays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = ([rng.bytes(8).hex() for _ in range(40)] for _ in range(2))
    # The copy begins a frame later than the clip that it is a copy of.
    clips = {"a/0": clip_hashes(one, 0, 24), "b/0": clip_hashes(other, 0, 24), "b/1": clip_hashes(one, 1, 24)}
    result = Duplicates().process(Unit(name="all", inputs={"clips": clips}), Store(tmp_path))["clips"]
    assert list(result) == ["b/1"]
    assert result["b/1"][0] == "duplicate"
    assert "a/0" in result["b/1"][1]
