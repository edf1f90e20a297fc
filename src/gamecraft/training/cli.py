"""`gamecraft train`: run the training that a recipe describes."""

import argparse
import logging
from collections.abc import Callable
from typing import Any

from gamecraft.errors import InputError
from gamecraft.training.config import build_config, load_recipe

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the `train` command to argparse's subparsers."""
    parser = subparsers.add_parser("train", help="train a part of a model from a recipe", description=__doc__)
    _add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train; a run folder that has checkpoints is continued. Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    overrides = [*args.set, *([f"run={args.run}"] if args.run else [])]
    task, values = load_recipe(args.config, overrides)
    known: dict[str, Callable[[dict[str, Any]], None]] = {
        "text": _train_text,
        "autoencoder": _train_autoencoder,
        "transformer": _train_transformer,
    }
    if task not in known:
        raise InputError(f"{args.config} has task {task!r}; expected one of {', '.join(known)}")
    known[task](values)
    return 0


def _train_text(values: dict[str, Any]) -> None:
    from gamecraft.training.text import TextConfig, train_text

    train_text(build_config(TextConfig, values))


def _train_autoencoder(values: dict[str, Any]) -> None:
    from gamecraft.training.autoencoder import AutoencoderTrainingConfig, train_autoencoder

    train_autoencoder(build_config(AutoencoderTrainingConfig, values))


def _train_transformer(values: dict[str, Any]) -> None:
    from gamecraft.training.transformer import TransformerTraining, train_transformer

    train_transformer(build_config(TransformerTraining, values))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="RECIPE", help="recipe, such as recipes/mini_transformer.yaml"
    )
    parser.add_argument("--run", metavar="FOLDER", help="run folder, instead of the recipe's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe, such as max_steps=4000 or model.num_single_layers=4; may be repeated",
    )
    parser.set_defaults(handler=run)


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    _add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
