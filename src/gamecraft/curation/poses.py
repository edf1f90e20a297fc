"""Eighth stage: the camera of every frame, the actions that explain it, and how far to trust both."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import actions_to_json
from gamecraft.curation.extras import load_plugin
from gamecraft.curation.input_log import read_inputs
from gamecraft.curation.pose_actions import actions_from_poses, replay_error
from gamecraft.curation.raw import inputs_path, truth_path
from gamecraft.curation.recording import read_grid
from gamecraft.curation.sfm import estimate_path
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.curation.upright import motion_scale, roll_degrees, upright, without_roll
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import Trajectory, interpolate
from gamecraft.trajectory_io import read_trajectory

__all__ = ["Estimator", "Poses"]

Array = NDArray[np.float64]

Estimator = Callable[[NDArray[np.uint8], Intrinsics], tuple[Array, float]]
"""A plug-in: frames uint8 [F, H, W, 3] and their lens to camera-to-world poses [F, 4, 4] and a confidence, 0 to 1."""

_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Annotates clips with poses and actions.

    Attributes:
        source: ``sfm`` (COLMAP), ``recorded`` (the trajectory beside the recording) or a plug-in ``module:function``,
            see ``Estimator``.
        stride: frames from one key frame to the next.
        width: of the pictures that poses are estimated from, in pixels.
        registered: least share of the key frames whose pose was found.
        confidence: least confidence.
        roll: largest roll in degrees; walkers have none.
        replay: largest distance between the path and the replay of its actions, as a share of the path's length.
    """

    name: ClassVar[str] = "poses"
    version: ClassVar[int] = 3

    source: str = "sfm"
    stride: int = 2
    width: int = 640
    registered: float = 0.8
    confidence: float = 0.2
    roll: float = 4.0
    replay: float = 0.2

    def __post_init__(self) -> None:
        if self.stride < 1 or self.width < 64:
            raise InputError(f"poses need a stride from 1 and a width from 64, received {self.stride} and {self.width}")

    def process(self, unit: Unit, store: Store) -> Result:
        """``poses`` [F, 16], ``actions`` as JSON, scores, and why the clip is rejected."""
        if self.source == "recorded":
            poses, scores = _recorded(Path(unit.place), unit.inputs), {"confidence": 1.0}
        else:
            found = self._estimated(unit)
            if isinstance(found, str):
                return {"scores": {"confidence": 0.0}, "rejected": ["no poses", found]}
            poses, scores = found
        actions = actions_from_poses(poses)
        length = float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())
        # Below a metre the keys' own resolution would decide.
        replay = replay_error(poses, actions) / max(length, 1.0)
        scores |= {"path": round(length, 3), "replay": round(replay, 4), **_agreement(unit, actions)}
        rejected = self._judge(scores)
        return {
            "poses": [[round(value, _DIGITS) for value in pose] for pose in poses.reshape(-1, 16).tolist()],
            "actions": actions_to_json(actions),
            "scores": scores,
            "rejected": rejected,
        }

    def _judge(self, scores: dict[str, Any]) -> list[str] | None:
        if scores["confidence"] < self.confidence:
            return ["uncertain poses", f"confidence {scores['confidence']:.2f}, less than {self.confidence:g}"]
        if scores.get("roll", 0.0) > self.roll:
            return ["roll", f"the camera rolls by {scores['roll']:.1f} degrees, more than {self.roll:g}"]
        if scores["replay"] > self.replay:
            return ["replay", f"the keys' replay leaves the path by {scores['replay']:.0%} of its length"]
        return None

    def _estimated(self, unit: Unit) -> tuple[Array, dict[str, Any]] | str:
        """Poses and scores, or why there are none."""
        clip = unit.inputs
        count = clip["frames"]
        frames = list(read_grid(Path(unit.place), clip["fps"], first=clip["first"], count=count, width=self.width))
        if len(frames) < count:
            raise InputError(f"{unit.place} ends before frame {clip['first'] + count}, which was there before")
        lens = Intrinsics(**clip["lens"])
        if self.source != "sfm":
            poses, confidence = _from_plugin(self.source, frames, lens)
            scores: dict[str, Any] = {"confidence": confidence}
        else:
            path = estimate_path(frames, lens, self.stride)
            keys = {*range(0, count, self.stride), count - 1}
            found = 0 if path is None else len(keys & set(path.frames.tolist()))
            if path is None or found < self.registered * len(keys):
                return f"{found} of {len(keys)} key frames could be placed, fewer than {self.registered:.0%}"
            if path.frames[0] != 0 or path.frames[-1] != count - 1:
                return "the first or the last frame could not be placed"
            known = Trajectory(poses=path.poses, times=path.frames.astype(np.float64))
            poses = interpolate(known, np.arange(count, dtype=np.float64)).poses
            scores = {"confidence": path.confidence, "turning": path.turning, "reprojection": path.error}
        poses = upright(poses)
        scores["roll"] = round(roll_degrees(poses), 3)
        scale = motion_scale(poses)
        poses[:, :3, 3] *= scale
        return without_roll(poses), scores | {"scale": round(scale, 6)}


def _recorded(video: Path, clip: dict[str, Any]) -> Array:
    path = truth_path(video, "trajectory")
    trajectory = _trajectory(path, path.stat().st_mtime_ns if path.is_file() else 0)
    times = (clip["first"] + np.arange(clip["frames"])) / clip["fps"]
    # Times that were written with few digits may be off by a rounding error at the end.
    times[-1] = min(times[-1], max(trajectory.times[-1], times[-1] - 0.01))
    poses = interpolate(trajectory, times).poses
    return without_roll(poses)


@functools.lru_cache(maxsize=4)
def _trajectory(path: Path, changed: int) -> Trajectory:
    """The trajectory of a recording, for the many clips of it; ``changed`` tells versions of the file apart."""
    return read_trajectory(path)


def _from_plugin(name: str, frames: list[NDArray[np.uint8]], lens: Intrinsics) -> tuple[Array, float]:
    estimate: Estimator = load_plugin(name)
    poses, confidence = estimate(np.stack(frames), lens)
    return Trajectory(poses=poses).poses, round(float(confidence), 4)


def _agreement(unit: Unit, actions: list[Any]) -> dict[str, float]:
    """How often the input log, if there is one, has the same movement keys where the camera moves."""
    log = inputs_path(Path(unit.place))
    if not log.is_file():
        return {}
    clip = unit.inputs
    times = (clip["first"] + np.arange(clip["frames"])) / clip["fps"]
    walking = {"w", "a", "s", "d"}
    pairs = [
        (action.keys & walking, held & walking)
        for action, held in zip(actions, read_inputs(log).held(times), strict=True)
    ]
    moving = [found == held for found, held in pairs if found and held]
    return {"input_agreement": round(float(np.mean(moving)), 4)} if moving else {}
