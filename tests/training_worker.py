"""What each process of the tests of training on several processes does."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from gamecraft.training.sharding import whole_state
from gamecraft.training.trainer import Trainer, run_training
from gamecraft.training.transformer import TransformerTraining, train_transformer


def train_many(configs: list[TransformerTraining], output: Path) -> None:
    """One run after the other; the first rank leaves `NUMBER.safetensors` with the averaged weights."""
    _forget_parent()
    for number, config in enumerate(configs):
        weights = whole_state(train_transformer(config))
        if dist.get_rank() == 0:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, output / f"{number}.safetensors")
    dist.barrier()


def train_and_end(config: TransformerTraining, step: int, end: Callable[[], None]) -> None:
    """A run whose second rank calls `end` when `step` is done."""
    _forget_parent()
    keep = Trainer.keep_records

    def ending(trainer: Trainer, *, finished: bool) -> None:
        keep(trainer, finished=finished)
        if trainer.step == step and os.environ["RANK"] == "1":
            end()

    Trainer.keep_records = ending  # type: ignore[method-assign]
    run_training(Trainer(config))


def die() -> None:
    """End without a word."""
    os._exit(3)


def terminate() -> None:
    """What a cluster sends before it takes a machine away."""
    os.kill(os.getpid(), signal.SIGTERM)


def _forget_parent() -> None:
    """accelerate remembers that the process this one was forked from was alone."""
    AcceleratorState._reset_state(reset_partial_state=True)


def same(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    """The largest difference of two sets of weights is at most `tolerance`."""
    assert one.keys() == other.keys()
    worst = max(float((one[name].float() - other[name].float()).abs().max()) for name in one)
    assert worst <= tolerance, worst
    assert any(bool(tensor.abs().max() > 0) for tensor in one.values())
    assert all(bool(torch.isfinite(tensor).all()) for tensor in one.values())
