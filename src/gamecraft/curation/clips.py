"""From recordings to the clips worth annotating: the stages up to duplicates, wired up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gamecraft.curation.duplicates import clip_hashes
from gamecraft.curation.lens import square_lens
from gamecraft.curation.measure import read_measures
from gamecraft.curation.runner import Runner
from gamecraft.curation.settings import CurationSettings
from gamecraft.curation.sources import Recording, recording_units
from gamecraft.curation.store import Result, Unit
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics

__all__ = ["ClipRef", "find_clips", "find_recordings", "passing", "read"]

_SEGMENT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ClipRef:
    """A clip: frames ``first`` to ``first + frames - 1`` on the grid of its recording.

    Attributes:
        lens: of the recording; ``lens_assumed`` if nobody said so and it could not be estimated either.
    """

    recording: Recording
    first: int
    frames: int
    fps: int
    lens: Intrinsics
    lens_assumed: bool

    @property
    def name(self) -> str:
        """Unique within a curation, and in the order of recordings and time."""
        return f"{self.recording.name}/{self.first:08d}"

    def unit(self, **more: Any) -> Unit:
        """A unit of work on this clip; ``more`` are inputs besides the clip itself."""
        inputs = {
            "sha256": self.recording.sha256, "first": self.first, "frames": self.frames, "fps": self.fps,
            "lens": asdict(self.lens), "lens_assumed": self.lens_assumed,
        }  # fmt: skip
        return Unit(name=self.name, inputs=inputs | more, place=str(self.recording.path))


def find_recordings(runner: Runner, settings: CurationSettings, inputs: Sequence[str | Path]) -> list[Recording]:
    """The recordings that can be read, each once.

    Raises:
        InputError: an input does not exist, or none can be read.
    """
    units = recording_units(inputs)
    runner.run(settings.sources, units)
    recordings: dict[str, Recording] = {}
    reasons = []
    for unit in units:
        result = read(runner, settings.sources.name, unit.name)
        if result.get("rejected"):
            reasons.append(result["rejected"][1])
        elif result["sha256"] not in recordings:
            path = Path(unit.place)
            recordings[result["sha256"]] = Recording(
                name=f"{path.stem[:60]}-{result['sha256'][:8]}", path=path, sha256=result["sha256"],
                probe=result["probe"], about=result["about"],
            )  # fmt: skip
    if not recordings:
        raise InputError(f"no recording can be read; {reasons[0]}")
    return sorted(recordings.values(), key=lambda recording: recording.name)


def find_clips(runner: Runner, settings: CurationSettings, recordings: Sequence[Recording]) -> list[ClipRef]:
    """Measure, split and filter; the clips that no filter rejects, in the order of their names."""
    segments = _measured(runner, settings, recordings)
    clips = _split(runner, settings, [r for r in recordings if r.name in segments], segments)
    target = asdict(settings.lens)
    clips = passing(runner, settings.borders, [(clip, clip.unit(target=target)) for clip in clips])
    windows = {clip.name: read(runner, "borders", clip.name)["window"] for clip in clips}
    clips = passing(runner, settings.text, [(clip, clip.unit(window=windows[clip.name])) for clip in clips])
    clips = passing(runner, settings.checks, [(clip, clip.unit(window=windows[clip.name])) for clip in clips])
    hashes: dict[str, list[str]] = {}
    for recording in {clip.recording.name: clip.recording for clip in clips}.values():
        columns = read_measures(runner.store, segments[recording.name])
        own = [clip for clip in clips if clip.recording is recording]
        hashes |= {clip.name: clip_hashes(columns["hash"], clip.first, clip.frames) for clip in own}
    runner.run(settings.duplicates, [Unit(name="all", inputs={"clips": hashes})])
    duplicates = read(runner, "duplicates", "all")["clips"]
    return [clip for clip in clips if clip.name not in duplicates]


def _measured(runner: Runner, settings: CurationSettings, recordings: Sequence[Recording]) -> dict[str, list[str]]:
    """The names of the measured pieces of each recording that could be read to the end."""
    units = {recording.name: _segments(recording, settings.measure.fps) for recording in recordings}
    runner.run(settings.measure, [unit for pieces in units.values() for unit in pieces])
    names = {name: [unit.name for unit in pieces] for name, pieces in units.items()}
    return {name: pieces for name, pieces in names.items() if _readable(runner, pieces)}


def _split(
    runner: Runner, settings: CurationSettings, recordings: Sequence[Recording], segments: Mapping[str, list[str]]
) -> list[ClipRef]:
    """Scenes, clips, and the clips whose picture is good."""

    def units(more: Callable[[str], dict[str, Any]]) -> list[Unit]:
        return [Unit(name=name, inputs=inputs | more(name)) for name, inputs in measured.items()]

    measured: dict[str, dict[str, Any]] = {}
    for recording in recordings:
        pieces = segments[recording.name]
        prints = [read(runner, "measure", piece)["fingerprint"] for piece in pieces]
        measured[recording.name] = {"segments": pieces, "measures": prints}
    runner.run(settings.scenes, units(lambda name: {}))
    runner.run(settings.split, units(lambda name: {"scenes": read(runner, "scenes", name)["scenes"]}))
    frames = settings.split.frames
    runner.run(settings.picture, units(lambda name: {"clips": read(runner, "split", name)["clips"], "frames": frames}))
    good: dict[str, list[int]] = {}
    for recording in recordings:
        firsts, verdicts = read(runner, "split", recording.name), read(runner, "picture", recording.name)
        pairs = zip(firsts["clips"], verdicts["clips"], strict=True)
        good[recording.name] = [first for first, verdict in pairs if verdict["rejected"] is None]
    lenses = _estimated_lenses(runner, settings, recordings, good)
    return [
        _clip(recording, first, settings, lenses.get(recording.name))
        for recording in recordings
        for first in good[recording.name]
    ]


def _estimated_lenses(
    runner: Runner, settings: CurationSettings, recordings: Sequence[Recording], clips: Mapping[str, list[int]]
) -> dict[str, Intrinsics]:
    """The lenses of recordings that bring none, as far as their clips tell."""
    unknown = [recording for recording in recordings if not recording.about["intrinsics"] and clips[recording.name]]
    clip = {"fps": settings.measure.fps, "frames": settings.split.frames}
    units = [
        Unit(name=r.name, inputs={"sha256": r.sha256, "clips": clips[r.name], **clip}, place=str(r.path))
        for r in unknown
    ]
    runner.run(settings.focal, units)
    found = {r.name: (read(runner, "focal", r.name).get("fx"), r.probe) for r in unknown}
    return {name: square_lens(fx, probe["width"], probe["height"]) for name, (fx, probe) in found.items() if fx}


def passing(runner: Runner, stage: Any, work: Sequence[tuple[ClipRef, Unit]]) -> list[ClipRef]:
    """Run a stage on clips; those that it does not reject."""
    runner.run(stage, [unit for _, unit in work])
    return [clip for clip, unit in work if not read(runner, stage.name, unit.name).get("rejected")]


def read(runner: Runner, stage: str, unit: str) -> Result:
    """The result of a unit that has been run."""
    result = runner.store.read(stage, unit)
    assert result is not None, f"{stage} {unit} has not been run"
    return result


def _segments(recording: Recording, fps: int) -> list[Unit]:
    """Pieces of a recording; the last one is open, since containers may be wrong about the length."""
    step = _SEGMENT_SECONDS * fps
    count = max(1, math.ceil(recording.probe["seconds"] * fps / step))
    return [
        Unit(
            name=f"{recording.name}/{number:05d}",
            inputs={"sha256": recording.sha256, "first": number * step, "count": step if number < count - 1 else None},
            place=str(recording.path),
        )
        for number in range(count)
    ]


def _readable(runner: Runner, segments: Sequence[str]) -> bool:
    results = [read(runner, "measure", name) for name in segments]
    return not any(result.get("rejected") for result in results) and results[0]["frames"] > 0


def _clip(recording: Recording, first: int, settings: CurationSettings, estimated: Intrinsics | None) -> ClipRef:
    given, shape = recording.about["intrinsics"], recording.probe
    known = Intrinsics(**given) if given else estimated
    return ClipRef(
        recording=recording,
        first=first,
        frames=settings.split.frames,
        fps=settings.measure.fps,
        lens=known or square_lens(settings.assumed_fx, shape["width"], shape["height"]),
        lens_assumed=known is None,
    )
