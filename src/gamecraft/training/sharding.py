"""One model over many processes: FSDP2's `fully_shard`, and its checkpoints through torch.distributed.checkpoint.

accelerate applies the same function to the same units, but on accelerators only; on CPUs it trains data-parallel
without a word. Applied here, the code that GPUs run is the code that the tests run over gloo.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from gamecraft.errors import CheckpointError, InputError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.run import RunFolder

__all__ = ["ShardedRunFolder", "shard", "whole_state"]

logger = logging.getLogger(__name__)


def shard(transformer: GameCraftTransformer3DModel, device: torch.device, *, half: bool, compiled: bool) -> None:
    """Divide every block among all processes; a block is whole only while it computes.

    Args:
        transformer: a whole model, the same in each process, on any device; each unit is moved when it is divided.
        device: where this process computes.
        half: gather the blocks in bfloat16, as autocast would use them; sums of gradients stay in float32.
        compiled: compile each block.

    Raises:
        InputError: there is only one process.
    """
    if not dist.is_initialized():
        raise InputError(
            "shard divides a model among processes, but there is one: start them with "
            "`torchrun --nproc-per-node N -m gamecraft train ...`"
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    # inputs are cast by autocast: FSDP would round timesteps up to 1000 to eight bits
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        if compiled:
            block.compile()
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # The rest is one unit. The action encoder must not be its own: it runs once for each clip of a history, of which
    # the processes' batches have different numbers, and every process must gather as often as the others. All is
    # divided again after a forward pass too: an evaluation has no backward pass that would do it.
    fully_shard(transformer, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(transformer, "encode_actions")


def whole_state(model: nn.Module) -> dict[str, Any]:
    """All weights of a model on the CPU; of a sharded one in the main process alone, where all must call it."""
    if not isinstance(model, FSDPModule):
        return model.state_dict()
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


class ShardedRunFolder(RunFolder):
    """A run folder whose checkpoints are folders `checkpoint-NNNNNNNNN`, to which every process writes its part.

    All processes call the methods that save and load, at the same step.
    """

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(folder for folder in self.path.glob("checkpoint-" + "[0-9]" * 9) if folder.is_dir())

    def save_checkpoint(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write `state` (nested mappings of tensors, also sharded ones, and values) as the checkpoint of `step`."""
        target = self.path / f"checkpoint-{step:09d}"
        partial = target.with_name(target.name + ".tmp")
        main = dist.get_rank() == 0
        try:
            save({**state, "step": step}, checkpoint_id=partial)
        except (OSError, RuntimeError, CheckpointException) as error:
            raise self.not_saved(target, error) from error
        if main:
            shutil.rmtree(target, ignore_errors=True)  # of the same step, when nothing was trained since
            os.replace(partial, target)
            for old in self.checkpoints()[: -self.kept]:
                shutil.rmtree(old)
        dist.barrier()
        return target

    def load_checkpoint(self, into: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The newest readable checkpoint with its `step`, read into the tensors of `into`; None in a fresh folder.

        The number of processes may be another than when it was written. CheckpointError if none is readable.
        """
        self.resume_log(-1)
        if RunFolder.checkpoints(self):
            raise CheckpointError(f"{self.path} is of a run without shard; choose another folder")
        if dist.get_rank() == 0:
            self.remove_partial()
        dist.barrier()
        found = self.checkpoints()
        for folder in reversed(found):
            wanted = {**(into or {}), "step": 0}
            try:
                load(wanted, checkpoint_id=folder)
            except (OSError, RuntimeError, CheckpointException) as error:
                logger.warning("checkpoint %s cannot be read (%s); trying the one before", folder, error)
                continue
            self.resume_log(int(wanted["step"]))
            return wanted
        if found:
            raise CheckpointError(f"none of the checkpoints in {self.path} is readable; remove them to start anew")
        return None
