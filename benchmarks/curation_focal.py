"""How well curation guesses a focal length that nobody tells it, on recordings whose true lens is known.

    gamecraft record --doom freedoom1/e1m3 freedoom2/map05 --seconds 60 --output /tmp/raw
    python benchmarks/curation_focal.py --raw /tmp/raw

Prints the estimate of every tried clip, and of every recording what the stage would say, beside the truth.
"""

import argparse
from pathlib import Path

import numpy as np

from gamecraft.curation.focal import Focal
from gamecraft.curation.raw import read_about
from gamecraft.curation.recording import probe
from gamecraft.curation.store import Store, Unit

FPS = 24


def main() -> None:
    """Estimate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="recordings with their companions")
    parser.add_argument("--frames", type=int, default=96, help="of a clip; default: %(default)s")
    parser.add_argument("--clips", type=int, default=8, help="of a recording; default: %(default)s")
    args = parser.parse_args()
    stage, errors, told, recordings = Focal(clips=args.clips), [], 0, 0
    for video in sorted(args.raw.glob("*.mp4")):
        lens = read_about(video).intrinsics
        if lens is None:
            raise SystemExit(f"{video} has no known lens to compare with")
        firsts = list(range(0, int(probe(video).seconds * FPS) - args.frames, args.frames))
        unit = Unit(name="x", inputs={"clips": firsts, "frames": args.frames, "fps": FPS}, place=str(video))
        result = stage.process(unit, Store(Path()))
        print(f"{video.stem}: true {lens.fx:.4f}, found {result['fx']}, clips {result['estimates']}", flush=True)
        errors += [abs(fx / lens.fx - 1) for _, fx in result["estimates"] if fx is not None]
        recordings += 1
        told += result["fx"] is not None and abs(result["fx"] / lens.fx - 1) < 0.05
    if errors:
        print(f"{len(errors)} clips told, median error {np.median(errors):.1%}, 90th percentile "
              f"{np.percentile(errors, 90):.1%}; {told} of {recordings} recordings within 5 %")  # fmt: skip


if __name__ == "__main__":
    main()
