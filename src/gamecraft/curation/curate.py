"""From recordings to a dataset: all stages, one after the other, each doing only what is due.

OUTPUT/index.json, OUTPUT/shards/...   the dataset, see ``gamecraft.dataset``
OUTPUT/curation/STAGE/...              what each stage found out about each unit of work
OUTPUT/curation/settings.json          the settings of the last run
OUTPUT/curation/report.html            what was kept, what was rejected and why
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gamecraft.curation.clips import ClipRef, find_clips, find_recordings, passing, read
from gamecraft.curation.report import write_report
from gamecraft.curation.runner import Progress, Runner
from gamecraft.curation.settings import CurationSettings
from gamecraft.curation.store import Store, Unit
from gamecraft.errors import InputError
from gamecraft.evaluation.camera_motion import relative_motion
from gamecraft.files import write_atomically

__all__ = ["curate"]


def curate(
    inputs: Sequence[str | Path],
    output: Path,
    settings: CurationSettings | None = None,
    *,
    processes: int = 1,
    ray: str | None = None,
    on_progress: Progress | None = None,
) -> int:
    """Make a dataset of recordings; run again with the same output to continue or to change settings.

    Args:
        inputs: recordings, or folders of them.
        output: the dataset's folder.
        processes: how many units of work to do at once, on this machine.
        ray: address of a Ray cluster that does them instead, see ``ray_runner``.

    Returns:
        the number of clips in the dataset.

    Raises:
        InputError: an input does not exist, no recording can be read, or no clip is left; the report tells why.
        GameCraftError: a library or a model that the settings ask for is missing.
    """
    settings = settings or CurationSettings()
    if (output / "index.json").exists() and not (output / "curation").is_dir():
        raise InputError(f"{output} holds a dataset that was not made by curation; choose another folder")
    store = Store(output / "curation")
    with write_atomically(store.folder / "settings.json") as temporary:
        temporary.write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
    if ray is None:
        runner = Runner(store, processes=processes, on_progress=on_progress)
    else:
        from gamecraft.curation.ray_runner import RayRunner

        runner = RayRunner(store, ray, on_progress=on_progress)
    with runner:
        recordings = find_recordings(runner, settings, inputs)
        found = find_clips(runner, settings, recordings)
        posed = passing(runner, settings.poses, [(clip, _pose_unit(clip)) for clip in found])
        captioned = passing(runner, settings.captions, [(clip, _caption_unit(runner, clip)) for clip in posed])
        _balance(runner, settings, captioned)
        count = _write(runner, settings, output, captioned)
    write_report(output, settings, recordings)
    if not count:
        raise InputError(f"no clip is left; {store.folder / 'report.html'} says why")
    return count


def _pose_unit(clip: ClipRef) -> Unit:
    # Files beside the recording are read too, so that they are part of what the result depends on.
    beside = [clip.recording.path.with_suffix(".inputs.csv"), clip.recording.path.parent / "truth"]
    beside[1] = beside[1] / f"{clip.recording.path.stem}.trajectory.json"
    return clip.unit(beside=[path.stat().st_size if path.is_file() else None for path in beside])


def _caption_unit(runner: Runner, clip: ClipRef) -> Unit:
    return clip.unit(
        about=clip.recording.about,
        poses=read(runner, "poses", clip.name)["fingerprint"],
        window=read(runner, "borders", clip.name)["window"],
        luma=_picture_scores(runner, clip)["luma"],
    )


def _balance(runner: Runner, settings: CurationSettings, clips: Sequence[ClipRef]) -> None:
    motions: dict[str, dict[str, list[float]]] = {"forth": {}, "back": {}}
    for clip in clips:
        poses = np.array(read(runner, "poses", clip.name)["poses"]).reshape(-1, 4, 4)
        ends = poses[:1], poses[-1:]
        for name, (start, end) in (("forth", ends), ("back", ends[::-1])):
            motions[name][clip.name] = [round(value, 4) for value in relative_motion(start, end)[0].tolist()]
    runner.run(settings.balance, [Unit(name="all", inputs=motions)])


def _write(runner: Runner, settings: CurationSettings, output: Path, clips: Sequence[ClipRef]) -> int:
    known = {clip.name: clip for clip in clips}
    chosen = read(runner, "balance", "all")["clips"]
    if not chosen:
        return 0  # what an earlier run made stays
    _start_dataset(output, settings)
    step = settings.write.clips
    units = []
    for number, first in enumerate(range(0, len(chosen), step)):
        part = [(known[name], backwards) for name, backwards in chosen[first : first + step]]
        place = {"dataset": str(output.resolve())} | {c.recording.name: str(c.recording.path) for c, _ in part}
        unit = Unit(
            name=f"{number:05d}",
            inputs={
                "number": number, "frames": settings.split.frames, "fps": settings.measure.fps,
                "lens": asdict(settings.lens), "clips": [_row(runner, settings, *clip) for clip in part],
            },
            place=json.dumps(place),
        )  # fmt: skip
        if not (output / "shards" / unit.name / "manifest.parquet").is_file():
            runner.store.forget("write", unit.name)  # somebody removed the shard
        units.append(unit)
    runner.run(settings.write, units)
    for unit in units:
        if reason := read(runner, "write", unit.name).get("rejected"):
            raise InputError(reason[1])
    _remove_surplus(output, len(units))
    return len(chosen)


def _start_dataset(output: Path, settings: CurationSettings) -> None:
    """A dataset of another size, rate or lens gives way: its shards are stale."""
    index = output / "index.json"
    wanted = {
        "fps": settings.measure.fps, "height": settings.write.height, "width": settings.write.width,
        "intrinsics": asdict(settings.lens),
    }  # fmt: skip
    if index.is_file():
        existing = json.loads(index.read_text(encoding="utf-8"))
        if {name: existing.get(name) for name in wanted} != wanted:
            shutil.rmtree(output / "shards", ignore_errors=True)
            index.unlink()


def _remove_surplus(output: Path, shards: int) -> None:
    """Remove shards of an earlier run that had more, and what a killed run left half-written."""
    for path in (output / "shards").glob("*"):
        if not path.name.isdigit() or int(path.name) >= shards:
            shutil.rmtree(path)


def _row(runner: Runner, settings: CurationSettings, clip: ClipRef, backwards: bool) -> dict[str, Any]:
    poses = read(runner, "poses", clip.name)
    captions = read(runner, "captions", clip.name)
    scores = [
        _picture_scores(runner, clip),
        *(read(runner, stage, clip.name)["scores"] for stage in ("borders", "text")),
    ]
    return {
        "name": clip.name,
        "recording": clip.recording.name,
        "sha256": clip.recording.sha256,
        "first": clip.first,
        "backwards": backwards,
        "window": read(runner, "borders", clip.name)["window"],
        "poses": poses["fingerprint"],
        "pose_source": settings.poses.source,
        "short": captions["short"],
        "long": captions["long"],
        "theme": clip.recording.about["place"] or clip.recording.name,
        "scores": {key: value for part in (*scores, poses["scores"]) for key, value in part.items()},
    }


def _picture_scores(runner: Runner, clip: ClipRef) -> dict[str, float]:
    place = read(runner, "split", clip.recording.name)["clips"].index(clip.first)
    scores: dict[str, float] = read(runner, "picture", clip.recording.name)["clips"][place]["scores"]
    return scores
