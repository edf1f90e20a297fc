"""Does a training that is killed again and again learn the same? Kills it at random moments and compares the losses.

    python benchmarks/training_kills.py --set data=data/heldout --set max_steps=60 --set batch_size=2

One undisturbed run first; then the same run, killed by SIGKILL as many times as asked for, each time going on from its
last checkpoint. The moments are spread over the run at random, and within a step at random too. The runs are forks of
this process, so that a start does not wait for imports.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gamecraft.cli import main as gamecraft
from gamecraft.training.config import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "small.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, kill, compare; returns 1 if a loss or a weight differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=RECIPE, help="recipe; default: recipes/small.yaml")
    parser.add_argument("--set", action="append", default=[], help="as of `gamecraft train`")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, default=Path("runs/kills"), help="a new folder for both runs")
    args = parser.parse_args(arguments)
    if args.output.exists():
        parser.error(f"{args.output} exists; give a new folder")
    settings = [*args.set, "log_every=1", "checkpoint_minutes=0.02"]
    command = ["train", "--config", str(args.config), *[word for item in settings for word in ("--set", item)]]
    recipe = load_recipe(args.config, settings)[1]
    steps, samples = int(recipe["max_steps"]), int(recipe["batch_size"])
    whole, killed = args.output / "whole", args.output / "killed"
    finish(start(command, whole))
    rng = random.Random(args.seed)
    moments = sorted(rng.sample(range(1, steps), args.kills))
    for number, step in enumerate(moments, start=1):
        resumed = kill_after(start(command, killed), killed, step, samples * rng.random())
        print(f"kill {number}: in step {step + 1} of {steps}, leaving {resumed}", flush=True)
    finish(start(command, killed))
    result = compare(whole, killed) | {"kills": args.kills, "steps": steps}
    print(json.dumps(result))
    return 0 if result["largest loss difference"] == 0 and result["largest weight difference"] == 0 else 1


def start(command: list[str], run: Path) -> int:
    """The process of a training in the folder `run`."""
    child = os.fork()
    if child == 0:
        run.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(run.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        os._exit(gamecraft([*command, "--run", str(run)]))
    return child


def finish(child: int) -> None:
    """Wait for a training; SystemExit if it fails."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise SystemExit(f"the training ended with {code}; its log is beside the run's folder")


def kill_after(child: int, run: Path, step: int, samples: float) -> str:
    """Kill a training when it has logged `step` and then the time of `samples` has passed; the checkpoint it leaves."""
    while last_step(run) < step:
        if os.waitpid(child, os.WNOHANG)[0]:
            raise SystemExit(f"the training ended before step {step}; see {run.with_suffix('.log')}")
        time.sleep(0.01)
    records = [record for record in read_log(run) if "ms_per_sample" in record]
    time.sleep(samples * records[-1]["ms_per_sample"] / 1000)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return max((file.stem for file in run.glob("checkpoint-*.pt")), default="none")


def last_step(run: Path) -> int:
    """The last step in a run's log; 0 before there is one."""
    return max((record["step"] for record in read_log(run)), default=0)


def read_log(run: Path) -> list[dict[str, float]]:
    """The whole lines of a log that may be being written."""
    file = run / "log.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def compare(whole: Path, killed: Path) -> dict[str, float]:
    """Largest difference of a step's loss, of the held-out loss and of a weight between two runs."""
    from safetensors.torch import load_file

    one, other = (
        {record["step"]: record["loss"] for record in read_log(run) if "loss" in record} for run in (whole, killed)
    )
    if one.keys() != other.keys():
        raise SystemExit(f"the logs have other steps: {sorted(one.keys() ^ other.keys())}")
    held_out = [[r["held_out"]["loss"] for r in read_log(run) if "held_out" in r][-1] for run in (whole, killed)]  # type: ignore[index]
    weights = [load_file(run / "transformer" / "diffusion_pytorch_model.safetensors") for run in (whole, killed)]
    return {
        "first loss": one[min(one)],
        "last loss": one[max(one)],
        "largest loss difference": max(abs(one[step] - other[step]) for step in one),
        "held-out loss difference": abs(held_out[0] - held_out[1]),
        "largest weight difference": max(
            float((tensor - weights[1][name]).abs().max()) for name, tensor in weights[0].items()
        ),
    }


if __name__ == "__main__":
    raise SystemExit(main())
