"""Runs a suite: one case after the other or several at once, each kept on disk so that a stopped run goes on."""

import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gamecraft.errors import GameCraftError, InputError
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.pictures import save_side_by_side, save_strip
from gamecraft.evaluation.pipeline_model import model_identity, open_model
from gamecraft.evaluation.scoring import make_rows, play_case
from gamecraft.evaluation.suites import Suite, make_case, suite_named
from gamecraft.files import write_atomically

__all__ = ["EvaluationSettings", "Job", "evaluate", "pictured"]

logger = logging.getLogger(__name__)

_FORMAT = 1
"""Part of the key of kept results: changes when the scores change their meaning."""

Job = tuple[int, str]
"""Number of the start, name of the action."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to evaluate.

    Attributes:
        suite: name of a suite. model: folder, built-in name, or None for the embedded model.
        output: folder for results and report. starts: how many; the suite's number if None. chunks: per rollout.
        steps, guidance: of the sampler; the model's own if None. processes: each loads the model.

    Raises:
        InputError: a number is out of range or the suite is unknown.
    """

    suite: str = "quick"
    model: str | None = None
    output: str = "outputs/evaluation"
    starts: int | None = None
    chunks: int = 8
    steps: int | None = None
    guidance: float | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        suite_named(self.suite)
        for name in ("starts", "chunks", "steps", "processes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if self.guidance is not None and not 1 <= self.guidance <= 50:
            raise InputError(f"guidance is {self.guidance:g}, expected 1 (none) to 50")


def evaluate(
    settings: EvaluationSettings, on_progress: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """Play all cases that have not been played yet; kill it whenever you like and call it again.

    Args:
        on_progress: called with (cases done, cases in all), first with those of an earlier run.

    Returns:
        scores of every case (see ``gamecraft.evaluation.scoring.play_case``) with ``start``, ``action``, ``theme``.

    Raises:
        GameCraftError: no usable model, or a setting it does not accept.
    """
    suite = suite_named(settings.suite)
    jobs = [(start, action) for start in range(settings.starts or suite.starts) for action in suite.actions]
    player = _Player(settings)
    missing = [job for job in jobs if not player.path(job).exists()]
    done = len(jobs) - len(missing)
    if on_progress is not None:
        on_progress(done, len(jobs))
    for count, _ in enumerate(_play_all(player, missing), start=done + 1):
        if on_progress is not None:
            on_progress(count, len(jobs))
    return [json.loads(player.path(job).read_text(encoding="utf-8")) for job in jobs]


def pictured(settings: EvaluationSettings) -> list[tuple[Job, Path]]:
    """The cases that are shown, each action once and in different worlds, with the path of their strip (.png).

    The video is beside it (.mp4).
    """
    suite, folder = suite_named(settings.suite), _Player(settings).folder
    shown = _shown_jobs(suite, settings.starts or suite.starts)
    return [(job, folder / f"{_file_name(job)}.png") for job in shown]


class _Player:
    """Plays single cases; loads the model when the first one is asked for."""

    def __init__(self, settings: EvaluationSettings) -> None:
        self.settings = settings
        self.suite = suite_named(settings.suite)
        key = {
            "format": _FORMAT,
            "suite": asdict(self.suite) | {"starts": 0},  # more starts use the results of fewer
            "chunks": settings.chunks,
            "steps": settings.steps,
            "guidance": settings.guidance,
            "model": model_identity(settings.model),
            "estimator": METHOD,
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = Path(settings.output) / "cases" / name
        self._shown = set(_shown_jobs(self.suite, settings.starts or self.suite.starts))

    def path(self, job: Job) -> Path:
        """Where the scores of a case are kept."""
        return self.folder / f"{_file_name(job)}.json"

    def play(self, job: Job) -> None:
        """Play a case and keep its scores, and its pictures before them, so that scores mean it is complete."""
        start, action = job
        model = self._model
        case = make_case(
            start,
            action,
            chunks=self.settings.chunks,
            chunk_frames=model.chunk_frames,
            height=model.height,
            width=model.width,
        )
        played = play_case(case, make_rows(self.suite.rows, model))
        if job in self._shown:
            first = next(iter(played.frames.values()))
            save_strip(self.path(job).with_suffix(".png"), case, first)
            save_side_by_side(self.path(job).with_suffix(".mp4"), case, first)
        record = {"start": start, "action": action, "theme": case.start.theme, **played.scores}
        with write_atomically(self.path(job)) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    @cached_property
    def _model(self) -> Any:
        return open_model(self.settings.model, steps=self.settings.steps, guidance=self.settings.guidance)


def _shown_jobs(suite: Suite, starts: int) -> list[Job]:
    return [(i % starts, action) for i, action in enumerate(suite.actions)]


def _file_name(job: Job) -> str:
    return f"start{job[0]:03d}-{job[1].replace('+', '_')}"


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

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.processes))
    _worker[:] = [_Player(settings)]


def _play_in_worker(job: Job) -> None:
    _worker[0].play(job)
