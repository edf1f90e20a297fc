"""Runs a suite: one case after the other or several at once, each kept on disk so that a stopped run goes on."""

import dataclasses
import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gamecraft.errors import GameCraftError, InputError
from gamecraft.evaluation.cases import MAX_SEED, Case, case_name, make_case
from gamecraft.evaluation.given_cases import clip_case, count_given, is_dataset, picture_case
from gamecraft.evaluation.learned import Quality, open_qualities
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.pictures import save_side_by_side, save_strip
from gamecraft.evaluation.pipeline_model import model_identity, open_model
from gamecraft.evaluation.rows import make_rows
from gamecraft.evaluation.scoring import play_case, revisits
from gamecraft.evaluation.suites import suite_named
from gamecraft.evaluation.trajectories import Tracker, open_tracker
from gamecraft.evaluation.video_features import FeatureExtractor, open_extractors
from gamecraft.files import write_atomically
from gamecraft.workers import end_with_parent

__all__ = ["EvaluationSettings", "Job", "case_of", "evaluate", "jobs_of", "pictured", "video_of"]

logger = logging.getLogger(__name__)

_FORMAT = 3
"""Part of the key of kept results: changes when the scores change their meaning."""

Job = tuple[int, str]
"""Number of the start, name of the signal."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to evaluate.

    Attributes:
        suite: name of a suite. model: see ``gamecraft.evaluation.pipeline_model.open_model``.
        output: folder for results and report.
        starts, chunks: how many starts, and chunks per rollout; the suite's numbers if None.
        seed: of the worlds. data: a clip dataset (suite ``play``) or a folder of pictures instead of rendered worlds.
        steps, guidance: of the sampler; the model's own if None. processes: each loads the model.
        poses: further sources of camera paths for RPE and ATE, see ``gamecraft.evaluation.trajectories``.
        i3d, videomae: weights of feature extractors for the FVD, see ``gamecraft.evaluation.video_features``.
        lpips, aesthetic, pyiqa: of learned picture metrics, see ``gamecraft.evaluation.learned``.

    Raises:
        InputError: a number is out of range, the suite is unknown or does not fit the data.
    """

    suite: str = "quick"
    model: str | None = None
    output: str = "outputs/evaluation"
    starts: int | None = None
    chunks: int | None = None
    seed: int = 0
    data: str | None = None
    steps: int | None = None
    guidance: float | None = None
    processes: int = 1
    poses: tuple[str, ...] = ()
    i3d: str | None = None
    videomae: str | None = None
    lpips: str | None = None
    aesthetic: str | None = None
    pyiqa: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        suite = suite_named(self.suite)
        if self.poses and "motion" not in suite.groups:
            raise InputError(f"suite {self.suite} looks at no camera path (--poses)")
        for name in ("starts", "chunks", "steps", "processes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if self.guidance is not None and not 1 <= self.guidance <= 50:
            raise InputError(f"guidance is {self.guidance:g}, expected 1 (none) to 50")
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"seed is {self.seed}, expected 0 to {MAX_SEED}")
        if "speed" in suite.groups and self.processes > 1:
            raise InputError(f"suite {self.suite} measures time; it takes one process")
        recorded = self.data is not None and is_dataset(self.data)
        if recorded != (self.suite == "play"):
            raise InputError("suite play and a clip dataset (--data) belong together; the other suites take pictures")
        available = None if self.data is None else count_given(self.data)
        if available is not None and (self.starts or 0) > available:
            raise InputError(f"{self.data} has {available} starts, {self.starts} were asked for")
        object.__setattr__(self, "starts", self.starts or min(suite.starts, available or suite.starts))
        object.__setattr__(self, "chunks", self.chunks or suite.chunks)

    @cached_property
    def identity(self) -> str:
        """Of the model's files when they were first asked for: results are kept under it, whatever happens to them."""
        return model_identity(self.model)


def evaluate(
    settings: EvaluationSettings, on_progress: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """Play all cases that have not been played yet; kill it whenever you like and call it again.

    Args:
        on_progress: called with (cases done, cases in all), first with those of an earlier run.

    Returns:
        scores of every case (see ``gamecraft.evaluation.scoring.play_case``) with ``start``, ``action``, ``theme``,
        and ``features``: feature extractor -> row -> [D] of the whole rollout.

    Raises:
        GameCraftError: no usable model, or a setting it does not accept.
    """
    jobs = jobs_of(settings)
    player = _Player(settings)
    missing = [job for job in jobs if not player.path(job).exists()]
    done = len(jobs) - len(missing)
    if on_progress is not None:
        on_progress(done, len(jobs))
    for count, _ in enumerate(_play_all(player, missing), start=done + 1):
        if on_progress is not None:
            on_progress(count, len(jobs))
    if missing and model_identity(settings.model) != settings.identity:
        logger.warning("the model's files changed while it was measured: the results are those of the files before")
    return [json.loads(player.path(job).read_text(encoding="utf-8")) for job in jobs]


def video_of(settings: EvaluationSettings, job: Job) -> Path:
    """The video of a played case, truth and model side by side."""
    return _Player(settings).path(job).with_suffix(".mp4")


def pictured(settings: EvaluationSettings) -> list[tuple[Job, Path]]:
    """The cases that are shown, each signal once and in different worlds, with the path of their strip (.png)."""
    folder = _Player(settings).folder
    return [(job, folder / f"{case_name(*job)}.png") for job in _shown_jobs(settings)]


class _Player:
    """Plays single cases; loads the model when the first one is asked for."""

    def __init__(self, settings: EvaluationSettings) -> None:
        self.settings = settings
        self.suite = suite_named(settings.suite)
        key = {
            "format": _FORMAT,
            "suite": repr((self.suite.signals, self.suite.rows, self.suite.groups)),  # more starts use those of fewer
            "chunks": settings.chunks,
            "seed": settings.seed,
            "data": settings.data,
            "learned": [
                _version(path) for path in (settings.i3d, settings.videomae, settings.lpips, settings.aesthetic)
            ],
            "pyiqa": settings.pyiqa,
            "steps": settings.steps,
            "guidance": settings.guidance,
            "model": settings.identity,
            "estimator": METHOD,
            "poses": [_version(name) for name in settings.poses],
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = Path(settings.output) / "cases" / name

    def path(self, job: Job) -> Path:
        """Where the scores of a case are kept."""
        return self.folder / f"{case_name(*job)}.json"

    def play(self, job: Job) -> None:
        """Play a case and keep its scores, and its pictures before them, so that scores mean it is complete."""
        start, action = job
        model = self._model
        case = case_of(self.settings, job, model.chunk_frames, model.height, model.width)
        rows = make_rows(self.suite.rows, model)
        if "speed" in self.suite.groups:
            rows["model"](dataclasses.replace(case, actions=case.actions[:1]), {})  # what is only slow the first time
        played = play_case(case, rows, self.suite.groups, self._trackers)
        for name, frames in played.frames.items():
            played.scores["rows"][name]["metrics"].update(self._judged(case, frames))
        videos = {name: frames.reshape(-1, *frames.shape[2:]) for name, frames in played.frames.items()}
        features = {
            extractor.name: {name: extractor(video).tolist() for name, video in videos.items()}
            for extractor in self._extractors
        }
        record = {"start": start, "action": action, "theme": case.start.theme, **played.scores, "features": features}
        if played.frames:
            first = next(iter(played.frames.values()))
            # of every case: with more starts later, other ones are shown
            save_strip(self.path(job).with_suffix(".png"), case, first)
            save_side_by_side(self.path(job).with_suffix(".mp4"), case, first)
        with write_atomically(self.path(job)) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    @cached_property
    def _model(self) -> Any:
        model = open_model(self.settings.model, steps=self.settings.steps, guidance=self.settings.guidance)
        if model_identity(self.settings.model) != self.settings.identity:
            raise GameCraftError(
                f"the files of {self.settings.model or 'the embedded model'} changed meanwhile; start again"
            )
        return model

    @cached_property
    def _trackers(self) -> dict[str, Tracker]:
        return dict(open_tracker(name) for name in self.settings.poses)

    def _judged(self, case: Case, frames: Any) -> dict[str, list[float | None]]:
        """Learned metrics of a row's frames [K, F, H, W, 3]."""
        scores: dict[str, list[float | None]] = {}
        for quality in self._qualities:
            if quality.needs_truth and case.frames is None:
                continue
            truth = frames if case.frames is None else case.frames
            scores[quality.name] = [quality(*pair) for pair in zip(frames, truth, strict=True)]
            if quality.needs_truth and "revisit" in self.suite.groups:
                # Of the later view, against the first one.
                scores[f"revisit_{quality.name}"] = revisits(case, frames, quality)
        return scores

    @cached_property
    def _qualities(self) -> list[Quality]:
        return open_qualities(self.settings.lpips, self.settings.aesthetic, self.settings.pyiqa)

    @cached_property
    def _extractors(self) -> list[FeatureExtractor]:
        return open_extractors(self.settings.videomae, self.settings.i3d)


def jobs_of(settings: EvaluationSettings) -> list[Job]:
    """All cases of an evaluation."""
    return [(start, name) for start in range(settings.starts or 0) for name in suite_named(settings.suite).signals]


def case_of(settings: EvaluationSettings, job: Job, chunk_frames: int, height: int, width: int) -> Case:
    """The case of a job for a model of this size."""
    start, name = job
    signal = suite_named(settings.suite).signals[name]
    sizes = {"chunks": settings.chunks or 0, "chunk_frames": chunk_frames, "height": height, "width": width}
    if settings.data is None:
        return make_case(start, name, signal=signal, seed=settings.seed, **sizes)
    if is_dataset(settings.data):
        return clip_case(settings.data, start, **sizes)
    return picture_case(settings.data, start, name, signal, **sizes)


def _version(path: str | None) -> str | None:
    """A path with what changes when its file, or the files of its folder, do; other names are left as they are."""
    place = Path(path or "")
    if path is None or not place.exists():
        return path
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    known = repr([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])
    return f"{path} {hashlib.sha256(known.encode()).hexdigest()[:16]}"


def _shown_jobs(settings: EvaluationSettings) -> list[Job]:
    return [(i % (settings.starts or 1), name) for i, name in enumerate(suite_named(settings.suite).signals)]


def _play_all(player: _Player, jobs: Sequence[Job]) -> Iterator[Job]:
    """Play the cases and yield each when it is done."""
    processes = min(player.settings.processes, len(jobs))
    if processes <= 1:
        for job in jobs:
            player.play(job)
            yield job
        return
    # A forked process would inherit the locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (player.settings,)) as pool:
        try:
            futures = {pool.submit(_play_in_worker, job): job for job in jobs}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            raise GameCraftError("a process was killed, probably for lack of memory; use fewer (--processes)") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker: list[_Player] = []


def _start_worker(settings: EvaluationSettings) -> None:
    import torch

    end_with_parent()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.processes))
    _worker[:] = [_Player(settings)]


def _play_in_worker(job: Job) -> None:
    _worker[0].play(job)
