"""The paper's ablations at small scale: which histories are learned, and how actions reach the tokens.

    python benchmarks/ablation.py --set max_steps=3000
    python benchmarks/ablation.py --arms hybrid "image only" --set max_steps=500 --starts 4

Every arm is trained from scratch by `recipes/small.yaml` with the same seed, data and number of steps, then measured as
by `gamecraft evaluate` with the same worlds, actions and chunks. The table goes to OUTPUT/table.md. The same command
continues after an interruption.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gamecraft.assembly import assemble
from gamecraft.cli import main as gamecraft
from gamecraft.evaluation.measures import seen_by
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.run import EvaluationSettings, evaluate
from gamecraft.evaluation.summary import summarise
from gamecraft.training.config import load_recipe
from gamecraft.training.run import RunFolder

RECIPE = Path(__file__).parents[1] / "recipes" / "small.yaml"


@dataclass(frozen=True)
class Arm:
    """Settings that make a recipe into one side of a comparison."""

    settings: tuple[str, ...] = ()


ARMS = {
    "hybrid": Arm(),
    "image only": Arm(("history_mix={clip: 0.0, clips: 0.0, image: 1.0}",)),
    "clip only": Arm(("history_mix={clip: 1.0, clips: 0.0, image: 0.0}",)),
    "channel concatenation": Arm(("model.action_fusion=channels",)),
}
"""As in table 4 of the paper; `hybrid` is its full model: all histories, action features added to the tokens."""

METRICS = {"psnr": "PSNR, dB", "follows": "action accuracy", "sharpness": "sharpness", "rpe_translation": "RPE, m"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure every arm that has not been; write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=RECIPE, help="recipe; default: recipes/small.yaml")
    parser.add_argument(
        "--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM", help=", ".join(ARMS)
    )
    parser.add_argument("--set", action="append", default=[], help="for all arms, as of `gamecraft train`")
    parser.add_argument("--suite", default="quick", help="of `gamecraft evaluate`; default: %(default)s")
    parser.add_argument("--starts", type=int, help="start images; default: the suite's")
    parser.add_argument("--chunks", type=int, help="chunks per rollout; default: the suite's")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    args = parser.parse_args(arguments)
    rows = {}
    for name in args.arms:
        folder = args.output / name.replace(" ", "-")
        train(args.config, [*args.set, *ARMS[name].settings], folder)
        settings = EvaluationSettings(
            suite=args.suite,
            model=str(folder / "model"),
            output=str(folder / "evaluation"),
            starts=args.starts,
            chunks=args.chunks,
        )
        print(f"{name}: measuring", flush=True)
        rows[name] = {"losses": held_out(folder / "run"), "scores": summarise(evaluate(settings))}
        (args.output / "table.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))
    return 0


def train(config: Path, settings: list[str], folder: Path) -> None:
    """Train one arm and make a model folder of it; what is there already stays."""
    if (folder / "model").exists():
        return
    words = [word for setting in settings for word in ("--set", setting)]
    if code := gamecraft(["train", "--config", str(config), "--run", str(folder / "run"), *words]):
        raise SystemExit(code)
    if not (folder / "run" / "transformer").exists():  # written at the end; interrupted, a training ends in order
        raise SystemExit("stopped; the same command continues")
    recipe = load_recipe(config, settings)[1]
    assemble(folder / "run" / "transformer", Path(recipe["autoencoder"]), Path(recipe["text"]), folder / "model")


def held_out(run: Path) -> dict[str, float]:
    """The last held-out losses of a run: after a clip, after an image."""
    losses: dict[str, float] = [record["held_out"] for record in RunFolder(run).records() if "held_out" in record][-1]
    return {
        kind: sum(found) / len(found)
        for kind in ("clip", "image")
        if (found := [loss for name, loss in losses.items() if name.startswith(f"{kind}@")])
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: one line per arm, losses and then each metric in the first and in the last chunk."""
    some = next(iter(rows.values()))["scores"]
    first, last = some["chunks"][0], some["chunks"][-1]
    titles = ["arm", "loss after a clip", "loss after an image"]
    titles += [f"{label}, chunk {chunk}" for label in METRICS.values() for chunk in (first, last)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name, row in rows.items():
        scores = next(iter(row["scores"]["overall"].values()))
        cells = [name, f"{row['losses']['clip']:.3f}", f"{row['losses']['image']:.3f}"]
        for metric in METRICS:
            points = metric_points(scores, metric)
            cells += [shown(points[0]), shown(points[-1])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def metric_points(scores: dict[str, list[Any]], metric: str) -> list[Any]:
    """A metric's points by chunk, of estimated motion as our estimator sees it."""
    return scores[metric] if metric in scores else scores[seen_by(metric, METHOD)]


def shown(point: dict[str, float] | None) -> str:
    """A mean with its interval, or a dash."""
    return "–" if point is None else f"{point['mean']:.2f} ({point['low']:.2f}–{point['high']:.2f})"


if __name__ == "__main__":
    raise SystemExit(main())
