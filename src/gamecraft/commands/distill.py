"""Make a trained transformer fast: run the distillation that a recipe describes. See docs/training.md."""

import argparse
from typing import Any

from gamecraft.training.cli import add_arguments, train

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the `distill` command to argparse's subparsers."""
    parser = subparsers.add_parser("distill", help="make a trained transformer fast", description=__doc__)
    add_arguments(parser, example="recipes/mini_consistency.yaml")


def run(args: argparse.Namespace) -> int:
    """Distil; a run folder that has checkpoints is continued. Returns the exit code."""
    train(args, tasks=["distillation"])
    return 0
