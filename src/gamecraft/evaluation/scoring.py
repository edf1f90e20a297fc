"""Plays one case with every row and scores every chunk."""

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.camera_motion import relative_motion
from gamecraft.evaluation.cases import Case
from gamecraft.evaluation.dynamics import dynamic_average, optical_flows, temporal_consistency
from gamecraft.evaluation.metrics import psnr, sharpness, ssim
from gamecraft.evaluation.motion_scoring import (
    continued,
    poses_before,
    score_frames,
    score_motion,
    score_response,
    score_tracks,
)
from gamecraft.evaluation.rows import Play, Rows
from gamecraft.evaluation.trajectories import Tracker

__all__ = ["MAX_PSNR", "Played", "play_case", "revisits", "score"]

MAX_PSNR = 100.0
"""Stands for the infinite PSNR of equal frames, so that means exist."""

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]
Scores = dict[str, list[float | None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Played:
    """Scores of one case, ready for JSON, and the frames [K, F, H, W, 3] of every row."""

    scores: dict[str, Any]
    frames: dict[str, Frames]


def play_case(case: Case, rows: Rows, groups: Sequence[str], trackers: Mapping[str, Tracker] | None = None) -> Played:
    """Play all chunks of ``case`` with every row.

    The scores: ``commanded``, the true motion [5] of each chunk, and for every row ``motion``, the motion [5] seen in
    each chunk (if the suite looks at motion), and ``metrics``, name -> one number per chunk or None.
    """
    plays: dict[str, Play] = {}
    for name, row in rows.items():
        play = row(case, plays)
        if play is not None:
            plays[name] = play
    scores = {
        "commanded": relative_motion(poses_before(case), case.poses[:, -1]).tolist(),
        "rows": {name: score(case, play, groups, row=name, trackers=trackers) for name, play in plays.items()},
    }
    return Played(scores=scores, frames={name: play.frames for name, play in plays.items()})


def score(
    case: Case,
    play: Play,
    groups: Sequence[str],
    *,
    row: str = "model",
    trackers: Mapping[str, Tracker] | None = None,
) -> dict[str, Any]:
    """``motion`` and ``metrics`` of one row; see ``play_case``."""
    metrics: Scores = {}
    result: dict[str, Any] = {"metrics": metrics}
    for group in groups:
        if group == "motion":
            result["motion"] = score_motion(case, play.frames, metrics)
            score_tracks(case, row, play.frames, trackers or {}, metrics)
        elif group == "pictures" and case.frames is not None:
            _score_pictures(case.frames, play.frames, metrics)
        elif group in _GROUPS:
            _GROUPS[group](case, play, metrics)
    return result


def _score_dynamics(case: Case, play: Play, metrics: Scores) -> None:
    clips = [np.concatenate([last, chunk]) for last, chunk in continued(case, play.frames)]
    flows = [optical_flows(clip) for clip in clips]
    metrics["dynamic"] = [dynamic_average(flow) for flow in flows]
    metrics["consistency"] = [temporal_consistency(clip, flow) for clip, flow in zip(clips, flows, strict=True)]


def _score_speed(case: Case, play: Play, metrics: Scores) -> None:
    first_only = [None] * (len(play.seconds) - 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    metrics.update({"seconds": [*play.seconds], "latency": [play.latency, *first_only], "memory": [peak, *first_only]})


def _score_pictures(truth: Frames, shown: Frames, metrics: Scores) -> None:
    pairs = list(zip(truth, shown, strict=True))
    metrics["psnr"] = [_psnr(true, chunk) for true, chunk in pairs]
    metrics["ssim"] = [float(ssim(true, chunk).mean()) for true, chunk in pairs]
    metrics["sharpness"] = [sharpness(true, chunk) for true, chunk in pairs]


def revisits(case: Case, shown: Frames, compare: Callable[[Frames, Frames], float]) -> list[float | None]:
    """Each chunk of the way back compared with the same row's frames at the same places on the way there.

    A picture that never changes is perfect here: read it beside action accuracy.

    Args:
        compare: of the later and the first view, frames [F, H, W, 3] each.
    """
    chunks = len(shown)
    if not case.returns:
        return [None] * chunks
    # Frame j of n is where frame n - 2 - j was; the last one is where the history ended.
    there = np.concatenate([case.start.frames[-1:], shown.reshape(-1, *shown.shape[2:])])
    earlier = there[:-1][::-1].reshape(shown.shape)
    half = chunks // 2
    return [None] * half + [compare(shown[k], earlier[k]) for k in range(half, chunks)]


def _psnr(truth: Frames, frames: Frames) -> float:
    return float(np.minimum(psnr(truth, frames), MAX_PSNR).mean())


_GROUPS: dict[str, Callable[[Case, Play, Scores], None]] = {
    "frames": lambda case, play, metrics: score_frames(case, play.frames, metrics),
    "dynamics": _score_dynamics,
    "revisit": lambda case, play, metrics: metrics.update(revisit=revisits(case, play.frames, _psnr)),
    "response": lambda case, play, metrics: score_response(case, play.frames, metrics),
    "speed": _score_speed,
}
