"""What every long training shares: a folder that survives kill -9, a stop flag, and averaged weights.

A trainer that draws batch `k` from a generator seeded with `(seed, k)` needs nothing but the step, the
weights and the optimizer in its checkpoint to resume exactly.
"""

import json
import logging
import re
import shutil
import signal
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from torch import Tensor, nn

from gamecraft.errors import CheckpointError
from gamecraft.files import write_atomically

__all__ = ["Ema", "RunFolder", "StopSignal"]

logger = logging.getLogger(__name__)

_CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{9})\.pt")


class RunFolder:
    """Checkpoints (`checkpoint-NNNNNNNNN.pt`, the last two) and a log (`log.jsonl`) of one training run."""

    kept = 2

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._resumed_step: int | None = None
        self._log_ready = False

    @property
    def log_path(self) -> Path:
        """The JSON-lines file that `log` writes."""
        return self.path / "log.jsonl"

    def checkpoints(self) -> list[Path]:
        """Checkpoint files, oldest first."""
        return sorted(file for file in self.path.iterdir() if _CHECKPOINT_NAME.fullmatch(file.name))

    def save_checkpoint(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write `state` (tensors, numbers, strings and containers of them) atomically as the checkpoint of `step`.

        CheckpointError if the disk does not take it; the checkpoints before stay.
        """
        target = self.path / f"checkpoint-{step:09d}.pt"
        try:
            with write_atomically(target, durable=True) as temporary:
                torch.save({**state, "step": step}, temporary)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its zip writer
            raise self.not_saved(target, error) from error
        for old in self.checkpoints()[: -self.kept]:
            old.unlink()
        return target

    def not_saved(self, target: Path, error: BaseException) -> CheckpointError:
        """What to say when a checkpoint could not be written, of which nothing is left."""
        self.remove_partial()
        whole = self.checkpoints()
        left = f"{whole[-1].name} is whole" if whole else "there is none before it"
        free = shutil.disk_usage(self.path).free / 1e9
        return CheckpointError(
            f"{target.name} could not be written to {self.path}, where {free:.1f} GB are free "
            f"({str(error).splitlines()[0]}); {left}: make room and give the same command again"
        )

    def remove_partial(self) -> None:
        """Give back the room of checkpoints whose writing was interrupted."""
        for partial in (*self.path.glob("checkpoint-*.tmp"), *self.path.glob(".checkpoint-*.tmp")):
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)

    def load_checkpoint(self, into: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The newest readable checkpoint with its `step`, or None in a fresh folder. `into` is for sharded ones.

        A damaged newest file falls back to the one before it. CheckpointError if there are files and none is readable.
        Afterwards the first `log` drops the records past the resumed step, which the run will write again.
        """
        self.resume_log(-1)
        self.remove_partial()
        if any(path.is_dir() for path in self.path.glob("checkpoint-*")):
            raise CheckpointError(f"{self.path} is of a run with shard: true; choose another folder")
        files = self.checkpoints()
        for file in reversed(files):
            try:
                state = _read_checkpoint(file)
            except Exception as error:  # torch and pickle raise many types for damaged files
                logger.warning("checkpoint %s is damaged (%s); trying the one before", file, error)
                continue
            self.resume_log(int(state["step"]))
            return state
        if files:
            raise CheckpointError(f"none of the checkpoints in {self.path} is readable; remove them to start anew")
        return None

    def resume_log(self, step: int) -> None:
        """Let the next `log` drop the records past `step`."""
        self._resumed_step, self._log_ready = step, False

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record, which has its `step`, to `log.jsonl`."""
        if not self._log_ready:
            self._trim_log()
            self._log_ready = True
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All whole records of the log; a line cut off by a kill is left out."""
        if not self.log_path.exists():
            return []
        records = []
        for line in self.log_path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                logger.warning("a torn line in %s is left out", self.log_path)
        return records

    def _trim_log(self) -> None:
        if not self.log_path.exists():
            return
        records = self.records()
        if self._resumed_step is not None:
            records = [record for record in records if record["step"] <= self._resumed_step]
        with write_atomically(self.log_path, durable=True) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def _read_checkpoint(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:  # torch.load does not check the sums of the archive's members
        if (damaged := archive.testzip()) is not None:
            raise CheckpointError(f"wrong checksum of {damaged}")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


class StopSignal:
    """Within the context SIGTERM and Ctrl-C set `requested`, for a loop to finish its step; a second Ctrl-C raises.

    Outside the main thread, where Python allows no handlers, it stays unset.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


class Ema:
    """Exponential moving average of a model's trainable parameters, in float32.

    The decay grows as (1 + n) / (10 + n) over the first updates, so that the average forgets the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {
            name: parameter.detach().to(torch.float32, copy=True)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the current parameters of `model`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = dict(model.named_parameters())
        targets = [parameters[name].detach().float() for name in self.shadow]
        torch._foreach_lerp_(list(self.shadow.values()), targets, 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the parameters of `model` with the average."""
        parameters = dict(model.named_parameters())
        for name, value in self.shadow.items():
            parameters[name].copy_(value)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Let `model` use the averaged weights inside the block; its own return afterwards, bit for bit."""
        parameters = dict(model.named_parameters())
        own = {name: parameters[name].detach().clone() for name in self.shadow}
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    parameters[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The average and its number of updates, for a checkpoint."""
        return {"updates": self.updates, "shadow": dict[str, Tensor](self.shadow)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; CheckpointError if the parameter names differ."""
        if state["shadow"].keys() != self.shadow.keys():
            difference = sorted(state["shadow"].keys() ^ self.shadow.keys())
            raise CheckpointError(f"the averaged weights have other names than the model: {difference[:5]}")
        self.updates = int(state["updates"])
        for name, value in state["shadow"].items():
            self.shadow[name].copy_(value)
