"""How far curation's camera poses are from the true ones, after the best similarity transform of each clip.

    gamecraft record --doom freedoom1/e1m1 freedoom2/map01 --seconds 60 --output /tmp/raw
    gamecraft curate /tmp/raw --output /tmp/dataset --set split.frames=96
    python benchmarks/curation_poses.py --raw /tmp/raw --curation /tmp/dataset/curation

Prints, over all clips that reached the pose stage: the share that was annotated, the median relative error per frame in
translation (centimetres of the true world) and rotation (degrees), and whether confidence predicts the error
(Spearman's rank correlation; -1 would be perfectly).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.outcomes import outcomes
from gamecraft.curation.raw import truth_path
from gamecraft.curation.store import Store
from gamecraft.evaluation.trajectory_error import align, relative_errors
from gamecraft.trajectory import interpolate
from gamecraft.trajectory_io import read_trajectory

Array = NDArray[np.float64]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="the recordings with their truth")
    parser.add_argument("--curation", type=Path, required=True, help="the folder `curation` of the dataset")
    args = parser.parse_args()
    store = Store(args.curation)
    settings = json.loads((args.curation / "settings.json").read_text())
    frames, fps = settings["split"]["frames"], settings["measure"]["fps"]
    tried, rows = 0, []
    for video in sorted(args.raw.glob("*.mp4")):
        trajectory = read_trajectory(truth_path(video, "trajectory"))
        (name,) = (path.stem for path in (args.curation / "scenes").glob(f"{video.stem}-*.json"))
        for outcome in outcomes(store, [name]):
            if outcome.stage not in ("poses", "captions", "balance", "write"):
                continue
            tried += 1
            result = store.read("poses", outcome.clip) or {}
            if outcome.stage == "poses":
                print(f"{outcome.clip}: {outcome.reason}, {outcome.detail}")
                continue
            true = interpolate(trajectory, (outcome.first + np.arange(frames)) / fps).poses
            poses = np.array(result["poses"]).reshape(-1, 4, 4)
            rows.append(compare(outcome.clip, poses, true, result["scores"]))
    table = np.array(rows)
    print(f"{tried} clips, {len(rows)} annotated ({len(rows) / tried:.0%})")
    if len(rows) > 2:
        print("median over clips of the median error per frame: "
              f"{np.median(table[:, 0]):.2f} cm, {np.median(table[:, 1]):.3f} degrees; "
              f"true step {np.median(table[:, 3]):.1f} cm")  # fmt: skip
        print(f"worst tenth: {np.percentile(table[:, 0], 90):.2f} cm, {np.percentile(table[:, 1], 90):.3f} degrees")
        print(f"rank correlation of confidence and error: translation {spearman(table[:, 2], table[:, 0]):.2f}, "
              f"rotation {spearman(table[:, 2], table[:, 1]):.2f}")  # fmt: skip


def compare(name: str, poses: Array, true: Array, scores: dict[str, float]) -> list[float]:
    """Median centimetres and degrees per frame, confidence, and the true step in centimetres."""
    translation, rotation = relative_errors(aligned(poses, true), true)
    step = float(np.median(np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1)))
    row = [
        100 * float(np.median(translation)),
        float(np.degrees(np.median(rotation))),
        scores["confidence"],
        100 * step,
    ]
    print(f"{name}: {row[0]:.2f} cm, {row[1]:.3f} degrees, confidence {row[2]:.2f}, true step {row[3]:.1f} cm, "
          f"path {scores['path']:.1f} m, turning {scores.get('turning')}")  # fmt: skip
    return row


def aligned(poses: Array, true: Array) -> Array:
    """Where the true camera (hardly) moves there is nothing to align but the first pose."""
    if np.ptp(true[:, :3, 3], axis=0).max() < 0.05 or np.ptp(poses[:, :3, 3], axis=0).max() < 1e-6:
        return np.asarray(true[0] @ np.linalg.inv(poses[0]) @ poses)
    return align(poses, true)


def spearman(a: Array, b: Array) -> float:
    """Correlation of ranks."""
    one, other = (np.argsort(np.argsort(values)) for values in (a, b))
    return float(np.corrcoef(one, other)[0, 1])


if __name__ == "__main__":
    main()
