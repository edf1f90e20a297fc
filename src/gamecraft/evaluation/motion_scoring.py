"""Scores of the motion seen in a rollout: does it follow its actions, and how far is its path from the true one?"""

from collections.abc import Mapping
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.camera_motion import compose, poses_after, relative_motion
from gamecraft.evaluation.cases import Case
from gamecraft.evaluation.following import LEAST_MOTION, THRESHOLD, follows
from gamecraft.evaluation.measures import seen_by
from gamecraft.evaluation.motion_estimator import METHOD, chosen_frames, estimate_steps
from gamecraft.evaluation.response import delay, gains
from gamecraft.evaluation.trajectories import Tracker
from gamecraft.evaluation.trajectory_error import absolute_errors, align, relative_errors

__all__ = ["continued", "poses_before", "score_frames", "score_motion", "score_response", "score_tracks"]

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]
Scores = dict[str, list[float | None]]


def score_motion(case: Case, shown: Frames, metrics: Scores) -> list[list[float]]:
    """Accuracy of action and direction, RPE and ATE by the built-in estimator; returns each chunk's motion [5]."""
    pitch, eyes = case.start.state.pitch, -case.start.state.position[1]
    steps, motions = [], []
    for last, chunk in continued(case, shown):
        seen, _ = estimate_steps(np.concatenate([last, chunk]), pitch=pitch, eyes=eyes)
        steps.append(seen)
        motions.append(compose(seen))
        pitch += float(motions[-1][4])  # of what is shown, which need not be what was asked for
    commanded = relative_motion(poses_before(case), case.poses[:, -1])
    for metric, least in (("follows", THRESHOLD), ("direction", LEAST_MOTION)):
        metrics[seen_by(metric, METHOD)] = [
            float(follows(actions[0], asked, seen, least)) if len(set(actions)) == 1 else None
            for actions, asked, seen in zip(case.actions, commanded, motions, strict=True)
        ]
    _score_track(case, poses_after(case.start.state, np.concatenate(steps)), METHOD, metrics)
    return [motion.tolist() for motion in motions]


def score_tracks(case: Case, row: str, shown: Frames, trackers: Mapping[str, Tracker], metrics: Scores) -> None:
    """RPE and ATE of the paths that other estimators see, and whether they see one."""
    chunks = len(shown)
    frames = _in_one(case, shown)
    for name, tracker in trackers.items():
        poses = tracker(case.start.name, row, frames)
        metrics[seen_by("placed", name)] = [float(poses is not None), *[None] * (chunks - 1)]
        if poses is None:
            metrics.update(
                {seen_by(metric, name): [None] * chunks for metric in ("rpe_translation", "rpe_rotation", "ate")}
            )
        else:
            _score_track(case, poses[_step_numbers(case)], name, metrics)


def score_frames(case: Case, shown: Frames, metrics: Scores) -> None:
    """RPE from each frame to the next, by the built-in estimator run on neighbouring frames."""
    steps = _steps_of_frames(case, shown)
    true = _true_poses(case)
    track = align(poses_after(case.start.state, steps), true)
    translation, rotation = (errors.reshape(shown.shape[:2]).mean(axis=1) for errors in relative_errors(track, true))
    metrics[seen_by("rpe_translation_1", METHOD)] = translation.tolist()
    metrics[seen_by("rpe_rotation_1", METHOD)] = np.degrees(rotation).tolist()


def score_response(case: Case, shown: Frames, metrics: Scores) -> None:
    """Gain and delay from single frames' motion; delay is one number per rollout and stands at the first chunk."""
    chunks, per_chunk = shown.shape[:2]
    true = _true_poses(case)
    gain = gains(relative_motion(true[:-1], true[1:]), _steps_of_frames(case, shown))
    metrics[seen_by("gain", METHOD)] = gain.reshape(chunks, per_chunk).mean(axis=1).tolist()
    metrics[seen_by("delay", METHOD)] = [float(delay(gain)), *[None] * (chunks - 1)]


def poses_before(case: Case) -> Array:
    """Poses [K, 4, 4] before each chunk."""
    return np.concatenate([case.start.poses[-1:], case.poses[:-1, -1]])


def continued(case: Case, shown: Frames) -> list[tuple[Frames, Frames]]:
    """Each chunk [F, H, W, 3] with the frame [1, H, W, 3] before it."""
    lasts = [case.start.frames[-1:], *(chunk[-1:] for chunk in shown[:-1])]
    return list(zip(lasts, shown, strict=True))


def _score_track(case: Case, track: Array, estimator: str, metrics: Scores) -> None:
    """Of camera poses [S + 1, 4, 4] at the frames of ``_step_numbers``."""
    true = _true_poses(case)[_step_numbers(case)]
    track = align(track, true)
    translation, rotation = relative_errors(track, true)
    distance = absolute_errors(track, true)[1:]
    per_chunk = len(distance) // len(case.poses)
    ends = list(accumulate([per_chunk] * (len(case.poses) - 1)))
    scores = {
        "rpe_translation": [float(part.mean()) for part in np.split(translation, ends)],
        "rpe_rotation": [float(np.degrees(part).mean()) for part in np.split(rotation, ends)],
        "ate": [float(np.sqrt(np.square(part).mean())) for part in np.split(distance, ends)],
    }
    metrics.update({seen_by(metric, estimator): list(values) for metric, values in scores.items()})


def _step_numbers(case: Case) -> npt.NDArray[np.intp]:
    """Frames between which the steps of all chunks lie, from 0, the last true one, on."""
    chunks, per_chunk = case.poses.shape[:2]
    within = chosen_frames(per_chunk + 1)[1:]
    return np.concatenate([[0], *(chunk * per_chunk + within for chunk in range(chunks))])


def _steps_of_frames(case: Case, shown: Frames) -> Array:
    """Motions [K F, 5] from each frame to the next."""
    state = case.start.state
    steps, _ = estimate_steps(_in_one(case, shown), pitch=state.pitch, eyes=-state.position[1], step_frames=1)
    return steps


def _in_one(case: Case, shown: Frames) -> Frames:
    """The last true frame and all shown ones [K F + 1, H, W, 3]."""
    return np.concatenate([case.start.frames[-1:], shown.reshape(-1, *shown.shape[2:])])


def _true_poses(case: Case) -> Array:
    """Poses [K F + 1, 4, 4] of the last true frame and of all that follow."""
    return np.concatenate([case.start.poses[-1:], case.poses.reshape(-1, 4, 4)])
