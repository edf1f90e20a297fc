"""Measures the evaluation's motion estimator against exact poses: its own error, which every report must be read with.

    python benchmarks/motion_estimator.py --data data/heldout --starts 12

Three parts: the single actions of the evaluation suites in held-out worlds, where it is also asked whether the motion
seen follows the action; the same with the chunks blurred to a sharpness (as the suites measure it) of 0.5, 0.25 and
0.1, for models are soft; and random play of a rendered dataset (all motions, also blocked and combined ones).
"""

import argparse
import json
import sys

import numpy as np
import numpy.typing as npt

from gamecraft.dataset import ClipDataset
from gamecraft.errors import GameCraftError
from gamecraft.evaluation.camera_motion import COMPONENTS, relative_motion
from gamecraft.evaluation.cases import make_case
from gamecraft.evaluation.following import follows
from gamecraft.evaluation.motion_estimator import METHOD, estimate_motion
from gamecraft.evaluation.softening import soften
from gamecraft.trajectory import CameraState

CHUNK = 9
SHARPNESS = (0.5, 0.25, 0.1)
ACTIONS = ("w", "s", "a", "d", "left", "right", "up", "down")

Array = npt.NDArray[np.float64]


def measure_dataset(clips: ClipDataset) -> dict[str, object]:
    """Errors over all whole chunks of all clips; pitch and height are known for the first frame of a chunk only."""
    errors, motions = [], []
    for clip in clips:
        frames = clip.frames()
        for first in range(0, len(frames) - CHUNK, CHUNK):
            poses = clip.poses[[first, first + CHUNK]]
            errors.append(_error(frames[first : first + CHUNK + 1], poses))
            motions.append(relative_motion(poses[:1], poses[1:])[0])
    return {"chunks": len(errors), **_statistics(np.stack(errors)), "motion": _named(np.abs(motions).mean(axis=0))}


def measure_actions(first: int, count: int, sharpness: float = 1.0) -> dict[str, object]:
    """Share of chunks in which the true frames of an action, blurred to a sharpness, are seen to follow it; errors."""
    shares, errors = {}, []
    for name in ACTIONS:
        right = []
        for number in range(first, first + count):
            case = make_case(number, name, chunks=2, chunk_frames=CHUNK, height=96, width=160)
            assert case.frames is not None  # rendered worlds have a truth
            frames = np.concatenate([case.start.frames, *(soften(chunk, sharpness) for chunk in case.frames)])
            poses = np.concatenate([case.start.poses, *case.poses])
            for chunk, actions in enumerate(case.actions, start=1):
                last = CHUNK * chunk - 1
                ends = poses[[last, last + CHUNK]]
                error = _error(frames[last : last + CHUNK + 1], ends)
                commanded = relative_motion(ends[:1], ends[1:])[0]
                right.append(follows(actions[0], commanded, commanded + error))
                errors.append(error)
        shares[name] = round(float(np.mean(right)), 4)
    return {"chunks_per_action": 2 * count, "followed": shares, **_statistics(np.stack(errors))}


def _error(frames: npt.NDArray[np.uint8], poses: Array) -> Array:
    start = CameraState.from_pose(poses[0])
    seen = estimate_motion(frames, pitch=start.pitch, eyes=-start.position[1])
    return np.asarray(seen - relative_motion(poses[:1], poses[1:])[0])


def _statistics(errors: Array) -> dict[str, dict[str, float]]:
    size = np.abs(errors)
    return {
        "median_error": _named(np.median(size, axis=0)),
        "mean_error": _named(size.mean(axis=0)),
        "p95_error": _named(np.quantile(size, 0.95, axis=0)),
    }


def _named(values: Array) -> dict[str, float]:
    return dict(zip(COMPONENTS, values.round(4).tolist(), strict=True))


def main() -> int:
    """Measure and print as JSON; metres and radians per chunk of 9 frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FOLDER", help="rendered dataset with poses")
    parser.add_argument("--starts", type=int, default=12, metavar="N", help="worlds per action; default: %(default)s")
    parser.add_argument("--first", type=int, default=100, metavar="I", help="first start; default: %(default)s")
    args = parser.parse_args()
    try:
        report: dict[str, object] = {"method": METHOD, "actions": measure_actions(args.first, args.starts)}
        for sharpness in SHARPNESS:
            report[f"sharpness {sharpness:g}"] = measure_actions(args.first, args.starts, sharpness)
        if args.data is not None:
            report["dataset"] = measure_dataset(ClipDataset(args.data))
    except GameCraftError as error:
        print(f"motion_estimator: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
