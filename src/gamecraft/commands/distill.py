"""Make a trained transformer fast: run the distillation that a recipe describes. See docs/training.md."""

import argparse

from gamecraft.training.cli import add_recipe_arguments, train

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft distill`."""
    add_recipe_arguments(parser, example="recipes/mini_consistency.yaml")


def run(args: argparse.Namespace) -> int:
    """Distil; a run folder that has checkpoints is continued. Returns the exit code."""
    train(args, tasks=["distillation"])
    return 0
