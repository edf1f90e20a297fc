"""The loop of the trainings that need one process and one optimizer: the autoencoder's decoder, the depth estimator."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from gamecraft.training.muon import MuonAdamW
from gamecraft.training.optimizers import Schedule, learning_rate_factor
from gamecraft.training.run import Ema, RunFolder, StopSignal

__all__ = ["LoopSettings", "run_loop"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What `run_loop` needs of a training's configuration, which extends it.

    muon_rate, adam_rate: peak learning rates of the hidden convolutions and of everything else. evaluate_every: steps.
    compile: the loss, by torch.compile.
    """

    steps: int
    schedule: Schedule
    muon_rate: float = 0.01
    adam_rate: float = 1e-3
    ema_decay: float = 0.998
    evaluate_every: int = 500
    checkpoint_seconds: float = 120.0
    compile: bool = True
    seed: int = 0


def run_loop(
    settings: LoopSettings,
    run: RunFolder,
    model: Any,
    *,
    part: str,
    hidden: Iterable[nn.Parameter],
    batch: Callable[[int], tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    measure: Callable[[], dict[str, float]],
) -> None:
    """Run, or continue, the training of `model` in `run`; at the end its weights are the averaged ones.

    SIGTERM and Ctrl-C end it early, after a checkpoint. A run that was killed and started again gives the weights of
    one that was not.

    Args:
        settings: of the training.
        run: gets the checkpoints, the log, and the averaged model as the folder `part`.
        model: trained in place; a diffusers ModelMixin.
        part: name of the model's folder.
        hidden: parameters for Muon.
        batch: tensors of a step; they may depend on the step's number alone.
        loss: of such tensors, a scalar.
        measure: figures for the log, of the model with averaged weights.
    """
    trained = _Trained(settings, model, hidden, loss)
    if (state := run.load_checkpoint()) is not None:
        trained.load_state(state)
    saved = time.monotonic()
    with StopSignal() as stop, _progress() as progress:
        task = progress.add_task(part, total=settings.steps, completed=trained.step)
        while trained.step < settings.steps and not stop.requested:
            value = trained.update(*batch(trained.step))
            progress.update(task, completed=trained.step)
            finished = trained.step == settings.steps
            if trained.step % settings.evaluate_every == 0 or finished:
                with trained.ema.applied(model):
                    record = {"step": trained.step, "loss": float(value), **measure()}
                    model.save_pretrained(run.path / part)
                run.log(record)
                logger.info("%s", record)
            if time.monotonic() - saved > settings.checkpoint_seconds or stop.requested or finished:
                run.save_checkpoint(trained.step, trained.state())
                saved = time.monotonic()
    trained.ema.copy_to(model)


class _Trained:
    """A model with its optimizer, averaged weights and step count."""

    def __init__(
        self, settings: LoopSettings, model: nn.Module, hidden: Iterable[nn.Parameter], loss: Callable[..., Tensor]
    ) -> None:
        self._settings = settings
        self._model = model
        self._loss = torch.compile(loss) if settings.compile else loss
        convolutions = list(hidden)
        taken = set(convolutions)
        other = [p for p in model.parameters() if p not in taken]
        self._optimizer = MuonAdamW(convolutions, other, muon_rate=settings.muon_rate, adam_rate=settings.adam_rate)
        self.ema = Ema(model, settings.ema_decay)
        self.step = 0

    def update(self, *batch: Tensor) -> Tensor:
        """One update of weights and average; returns the loss before it."""
        loss = self._loss(*batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step(learning_rate_factor(self.step, self._settings.steps, self._settings.schedule))
        self.ema.update(self._model)
        self.step += 1
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint needs."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": self.ema.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave and the run folder completed by the step."""
        self.step = state["step"]
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, speed_estimate_period=600)
