"""Is curation's memory flat, and how fast is it? Curates a recording of some minutes and one of hours, and compares.

    python benchmarks/curation_memory.py --folder /tmp/memory --minutes 10 --times 12

Records Doom, repeats that recording without encoding it again, and curates both; prints the peak memory of the largest
process, the processor time of every stage and its multiple of real time. The repeats are duplicates, which is why the
stages after `duplicates` have as much to do in both.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import av

MAP, WIDTH, HEIGHT = "freedoom1/e1m1", 320, 180
SETTINGS = ("text.samples=0", "poses.source=recorded")


def main() -> None:
    """Record, repeat, curate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="recordings and datasets; continues what is there")
    parser.add_argument("--minutes", type=float, default=10, help="of the short recording; default: %(default)s")
    parser.add_argument("--times", type=int, default=12, help="repeats in the long one; default: %(default)s")
    parser.add_argument("--processes", type=int, default=1, help="of each curation; default: %(default)s")
    parser.add_argument("--set", action="append", default=[], help="as of `gamecraft curate`")
    args = parser.parse_args()
    gamecraft = [sys.executable, "-m", "gamecraft"]
    size = ["--width", str(WIDTH), "--height", str(HEIGHT), "--seconds", str(60 * args.minutes)]
    subprocess.run([*gamecraft, "record", "--doom", MAP, *size, "--output", str(args.folder / "short")], check=True)
    (short,) = (args.folder / "short").glob("*.mp4")
    long = args.folder / "long" / short.name
    if not long.exists():
        repeat(short, long, args.times)
    for video in (short, long):
        settings = [word for setting in (*SETTINGS, *args.set) for word in ("--set", setting)]
        settings += ["--processes", str(args.processes)]
        output = args.folder / f"dataset_{video.parent.name}"
        started = time.monotonic()
        peak = peak_memory([*gamecraft, "curate", str(video), "--output", str(output), *settings])
        report = json.loads((output / "curation" / "report.json").read_text())
        print(f"{video.parent.name}: {report['seconds'] / 60:.1f} minutes, {report['clips']} clips, peak "
              f"{peak / 2**20:.0f} MiB, {time.monotonic() - started:.0f} s of wall-clock time")  # fmt: skip
        for stage, seconds in report["processor_seconds"].items():
            if seconds >= 0.1:
                print(f"  {stage:10s} {seconds:7.1f} processor seconds, {report['seconds'] / seconds:6.1f} x real time")


def repeat(short: Path, long: Path, times: int) -> None:
    """Packets of a video again and again, and the files beside it."""
    long.parent.mkdir(parents=True, exist_ok=True)
    long.with_suffix(".json").write_bytes(short.with_suffix(".json").read_bytes())
    (long.parent / "truth").mkdir(exist_ok=True)
    truth = Path("truth") / f"{short.stem}.trajectory.json"
    (long.parent / truth).write_bytes((short.parent / truth).read_bytes())
    partial = long.with_suffix(".part.mp4")
    with av.open(str(partial), "w") as target:
        stream, shift = None, 0
        for _ in range(times):
            with av.open(str(short)) as source:
                stream = stream or target.add_stream_from_template(source.streams.video[0])
                end = 0
                for packet in source.demux(video=0):
                    if packet.dts is None:
                        continue
                    end = max(end, packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    target.mux(packet)
                shift += end
    os.replace(partial, long)


def peak_memory(command: list[str]) -> int:
    """Run a command to its end; the largest resident memory of its process or of one it started, in bytes."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
