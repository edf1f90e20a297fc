"""Run the training that a recipe describes; the same command continues an interrupted one. See docs/training.md."""

import argparse
import importlib
import json
import logging
from collections.abc import Sequence
from typing import NamedTuple

from gamecraft.commands.quiet import quiet_libraries
from gamecraft.errors import InputError
from gamecraft.runtime import is_writer
from gamecraft.training.config import apply_overrides, build_config, load_recipe

__all__ = ["TASKS", "Task", "add_arguments", "add_recipe_arguments", "run", "train"]


class Task(NamedTuple):
    """Where a task's configuration and training function are; the module is imported when the task is run."""

    module: str
    config: str
    function: str
    run_key: str = "run"
    """The configuration's field for the run folder."""


TASKS = {
    "text": Task("gamecraft.training.text", "TextTraining", "train_text"),
    "autoencoder": Task("gamecraft.training.autoencoder", "AutoencoderTraining", "train_autoencoder"),
    "depth": Task("gamecraft.training.depth", "DepthTraining", "train_depth"),
    "refiner": Task("gamecraft.training.refiner", "RefinerTraining", "train_refiner"),
    "transformer": Task("gamecraft.training.transformer", "TransformerTraining", "train_transformer"),
    "distillation": Task("gamecraft.training.distillation.task", "Distillation", "distill", run_key="training.run"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft train`."""
    add_recipe_arguments(parser, example="recipes/mini_transformer.yaml")


def run(args: argparse.Namespace) -> int:
    """Train; a run folder that has checkpoints is continued. Returns the exit code."""
    train(args, tasks=list(TASKS))
    return 0


def train(args: argparse.Namespace, *, tasks: Sequence[str]) -> None:
    """Run the recipe of parsed arguments, which must be one of `tasks`."""
    level = logging.INFO if is_writer() else logging.WARNING  # of several processes one reports
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    name, values = load_recipe(args.config, args.set)
    if name not in tasks:
        raise InputError(f"{args.config} has task {name!r}; expected one of {', '.join(tasks)}")
    task = TASKS[name]
    if args.run:
        values = apply_overrides(values, [f"{task.run_key}={json.dumps(args.run)}"])
    module = importlib.import_module(task.module)
    config = build_config(getattr(module, task.config), values)
    quiet_libraries()
    getattr(module, task.function)(config)


def add_recipe_arguments(parser: argparse.ArgumentParser, *, example: str) -> None:
    """The arguments of training commands."""
    parser.add_argument("--config", required=True, metavar="RECIPE", help=f"recipe, such as {example}")
    parser.add_argument("--run", metavar="FOLDER", help="run folder, instead of the recipe's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe, such as max_steps=4000 or model.num_single_layers=4; may be repeated",
    )
