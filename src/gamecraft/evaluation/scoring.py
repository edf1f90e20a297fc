"""Plays one case with every row and scores every chunk."""

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.camera_motion import compose, poses_after, relative_motion
from gamecraft.evaluation.cases import Case
from gamecraft.evaluation.dynamics import dynamic_average, optical_flows, temporal_consistency
from gamecraft.evaluation.following import follows
from gamecraft.evaluation.metrics import psnr, sharpness, ssim
from gamecraft.evaluation.motion_estimator import estimate_steps
from gamecraft.evaluation.response import delay, gains
from gamecraft.evaluation.rows import Play
from gamecraft.evaluation.trajectory_error import absolute_errors, align, relative_errors

__all__ = ["MAX_PSNR", "Played", "play_case", "score"]

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


def play_case(case: Case, rows: Mapping[str, Callable[[Case], Play | None]], groups: Sequence[str]) -> Played:
    """Play all chunks of ``case`` with every row.

    The scores: ``commanded``, the true motion [5] of each chunk, and for every row ``motion``, the motion [5] seen in
    each chunk (if the suite looks at motion), and ``metrics``, name -> one number per chunk or None.
    """
    plays = {name: play for name, row in rows.items() if (play := row(case)) is not None}
    scores = {
        "commanded": relative_motion(_before(case), case.poses[:, -1]).tolist(),
        "rows": {name: score(case, play, groups) for name, play in plays.items()},
    }
    return Played(scores=scores, frames={name: play.frames for name, play in plays.items()})


def score(case: Case, play: Play, groups: Sequence[str]) -> dict[str, Any]:
    """``motion`` and ``metrics`` of one row; see ``play_case``."""
    metrics: Scores = {}
    result: dict[str, Any] = {"metrics": metrics}
    if "motion" in groups:
        result["motion"] = _score_motion(case, play.frames, metrics)
    if "pictures" in groups and case.frames is not None:
        _score_pictures(case.frames, play.frames, metrics)
    if "dynamics" in groups:
        clips = [np.concatenate([last, chunk]) for last, chunk in _continued(case, play.frames)]
        flows = [optical_flows(clip) for clip in clips]
        metrics["dynamic"] = [dynamic_average(flow) for flow in flows]
        metrics["consistency"] = [temporal_consistency(clip, flow) for clip, flow in zip(clips, flows, strict=True)]
    if "revisit" in groups:
        metrics["revisit"] = _revisits(case, play.frames)
    if "response" in groups:
        _score_response(case, play.frames, metrics)
    if "speed" in groups:
        first_only = [None] * (len(play.seconds) - 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
        metrics.update(
            {"seconds": [*play.seconds], "latency": [play.latency, *first_only], "memory": [peak, *first_only]}
        )
    return result


def _score_pictures(truth: Frames, shown: Frames, metrics: Scores) -> None:
    pairs = list(zip(truth, shown, strict=True))
    metrics["psnr"] = [_psnr(true, chunk) for true, chunk in pairs]
    metrics["ssim"] = [float(ssim(true, chunk).mean()) for true, chunk in pairs]
    metrics["sharpness"] = [sharpness(true, chunk) for true, chunk in pairs]


def _score_motion(case: Case, shown: Frames, metrics: Scores) -> list[list[float]]:
    """Action accuracy, RPE and ATE; returns the motion seen in each chunk."""
    pitch, eyes = case.start.state.pitch, -case.start.state.position[1]
    steps, motions, true = [], [], [case.start.poses[-1:]]
    for (last, chunk), poses, before in zip(_continued(case, shown), case.poses, _before(case), strict=True):
        seen, numbers = estimate_steps(np.concatenate([last, chunk]), pitch=pitch, eyes=eyes)
        steps.append(seen)
        motions.append(compose(seen))
        true.append(np.concatenate([before[None], poses])[numbers[1:]])
        pitch += float(motions[-1][4])  # of what is shown, which need not be what was asked for
    commanded = relative_motion(_before(case), case.poses[:, -1])
    metrics["follows"] = [
        float(follows(actions[0], asked, seen)) if len(set(actions)) == 1 else None
        for actions, asked, seen in zip(case.actions, commanded, motions, strict=True)
    ]
    track, truth = poses_after(case.start.state, np.concatenate(steps)), np.concatenate(true)
    track = align(track, truth)
    translation, rotation = relative_errors(track, truth)
    distance = absolute_errors(track, truth)[1:]
    ends = list(accumulate(len(part) for part in steps))[:-1]
    metrics["rpe_translation"] = [float(part.mean()) for part in np.split(translation, ends)]
    metrics["rpe_rotation"] = [float(np.degrees(part).mean()) for part in np.split(rotation, ends)]
    metrics["ate"] = [float(np.sqrt(np.square(part).mean())) for part in np.split(distance, ends)]
    return [motion.tolist() for motion in motions]


def _score_response(case: Case, shown: Frames, metrics: Scores) -> None:
    """Gain and delay from single frames' motion; delay is one number per rollout and stands at the first chunk."""
    chunks, per_chunk = shown.shape[:2]
    frames = np.concatenate([case.start.frames[-1:], shown.reshape(-1, *shown.shape[2:])])
    state = case.start.state
    seen, _ = estimate_steps(frames, pitch=state.pitch, eyes=-state.position[1], step_frames=1)
    poses = np.concatenate([case.start.poses[-1:], case.poses.reshape(-1, 4, 4)])
    gain = gains(relative_motion(poses[:-1], poses[1:]), seen)
    metrics["gain"] = gain.reshape(chunks, per_chunk).mean(axis=1).tolist()
    metrics["delay"] = [float(delay(gain)), *[None] * (chunks - 1)]


def _revisits(case: Case, shown: Frames) -> list[float | None]:
    """PSNR of each chunk of the way back against the same row's frames at the same places on the way there.

    A picture that never changes is perfect here: read it beside action accuracy.
    """
    chunks = len(shown)
    if not case.returns:
        return [None] * chunks
    # Frame j of n is where frame n - 2 - j was; the last one is where the history ended.
    there = np.concatenate([case.start.frames[-1:], shown.reshape(-1, *shown.shape[2:])])
    earlier = there[:-1][::-1].reshape(shown.shape)
    half = chunks // 2
    return [None] * half + [_psnr(earlier[k], shown[k]) for k in range(half, chunks)]


def _psnr(truth: Frames, frames: Frames) -> float:
    return float(np.minimum(psnr(truth, frames), MAX_PSNR).mean())


def _before(case: Case) -> Array:
    """Poses [K, 4, 4] before each chunk."""
    return np.concatenate([case.start.poses[-1:], case.poses[:-1, -1]])


def _continued(case: Case, shown: Frames) -> list[tuple[Frames, Frames]]:
    """Each chunk [F, H, W, 3] with the frame [1, H, W, 3] before it."""
    lasts = [case.start.frames[-1:], *(chunk[-1:] for chunk in shown[:-1])]
    return list(zip(lasts, shown, strict=True))
