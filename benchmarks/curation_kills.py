"""Is the dataset the same when curation is killed again and again? Kills it at random moments and compares the files.

    gamecraft record --doom freedoom1/e1m1 --seconds 30 --width 320 --height 180 --output /tmp/raw
    python benchmarks/curation_kills.py /tmp/raw --kills 10 --set split.frames=24

One undisturbed run first; then runs of the same settings, each continuing where the one before was killed, and one that
may finish. Moments are drawn over the work and not over the time, so that a busy machine does not push all kills into
the start of the program: a run is killed a moment after so many results are on disk.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    """Run, kill, compare; returns 1 if a file differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", help="recordings")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="as of `gamecraft curate`")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        command = [sys.executable, "-m", "gamecraft", "curate", *args.inputs]
        command += [word for setting in args.set for word in ("--set", setting)]
        subprocess.run([*command, "--output", str(whole)], check=True)
        rng = random.Random(args.seed)
        for number, mark in enumerate(sorted(rng.sample(range(results(whole)), args.kills))):
            process = subprocess.Popen([*command, "--output", str(killed)])
            while process.poll() is None and results(killed) < mark:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            process.wait()
            print(f"kill {number + 1}: exit code {process.returncode}, {results(killed)} of {results(whole)} results")
        subprocess.run([*command, "--output", str(killed)], check=True)
        one, other = contents(whole), contents(killed)
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print(f"{len(one)} files in the dataset, {len(different)} different {different}")
    return 1 if different else 0


def results(dataset: Path) -> int:
    """How many results of stages are on disk."""
    return len(list((dataset / "curation").glob("*/**/*.json")))


def contents(dataset: Path) -> dict[str, str]:
    """Hashes of the dataset's files, without the notes of how it was made."""
    files = (path for path in dataset.rglob("*") if path.is_file() and "curation" not in path.parts)
    return {str(path.relative_to(dataset)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    raise SystemExit(main())
