"""Record random play in rendered low-poly worlds as a dataset; the same command continues an interrupted recording."""

import argparse
import multiprocessing
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamecraft.errors import GameCraftError, InputError

if TYPE_CHECKING:
    from gamecraft.worlds.recorder import RecordConfig

__all__ = ["add_arguments", "run"]

_POLL = 0.2  # seconds
_HELP = {
    "worlds": "worlds to record",
    "clips_per_world": "clips in each world",
    "worlds_per_shard": "worlds in each file group",
    "first_seed": "seed of the first world; from 1,000,000 on worlds are for measuring only",
    "frames": "frames of a clip",
    "longest": "frames for which keys are held at most",
    "fps": "frames per second",
    "height": "height in pixels",
    "width": "width in pixels",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft render`."""
    from gamecraft.worlds.recorder import RecordConfig

    parser.add_argument("--output", required=True, metavar="FOLDER", help="dataset folder, new or begun before")
    for name, text in _HELP.items():
        default = getattr(RecordConfig, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=default, metavar="N", help=f"{text}; default: %(default)s"
        )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="processes; default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Record with a progress bar; returns the exit code."""
    from gamecraft.commands.progress import stage_progress
    from gamecraft.worlds.recorder import RecordConfig

    config = RecordConfig(output=args.output, **{name: getattr(args, name) for name in _HELP})
    if args.processes < 1:
        raise InputError(f"processes is {args.processes}, expected at least 1")
    shards = -(-config.worlds // config.worlds_per_shard)
    with stage_progress() as on_progress:
        _record(config, args.processes, lambda done: on_progress("shards", done, shards))
    print(f"{config.output}: {config.worlds * config.clips_per_world} clips of {config.frames} frames")
    return 0


def _record(config: "RecordConfig", processes: int, on_shards: Any) -> None:
    """Let processes record every n-th shard; `on_shards` is called with the number of shards on disk."""
    context = multiprocessing.get_context("spawn")  # a forked renderer would share its parent's engine
    results = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(config, (i, processes), results)) for i in range(processes)]
    shards = Path(config.output) / "shards"
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            on_shards(len(list(shards.glob("?????/manifest.parquet"))))
            if any(worker.exitcode for worker in workers):
                break
            time.sleep(_POLL)
        on_shards(len(list(shards.glob("?????/manifest.parquet"))))
        if not results.empty():
            raise results.get()
        for worker in workers:
            worker.join(timeout=10)
        if broken := [worker.exitcode for worker in workers if worker.exitcode]:
            raise RuntimeError(f"a recording process ended with exit code {broken[0]}")
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()


def _work(config: "RecordConfig", part: tuple[int, int], results: Any) -> None:
    from gamecraft.workers import end_with_parent
    from gamecraft.worlds.recorder import record_dataset

    end_with_parent()
    try:
        record_dataset(config, part=part)
    except (GameCraftError, OSError) as error:
        results.put(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # shards are whole or absent, so there is nothing to clean up
        raise SystemExit(130) from None
