"""One video by several processes: `torchrun --nproc-per-node N -m gamecraft generate ...`.

All ranks hold the whole model and make the same decisions from the same seed. They share the tokens of a forward pass
(context parallelism of diffusers), the halves of guidance, and the tiles of the decoder; rank 0 alone writes files.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from diffusers import AutoencoderKLHunyuanVideo, ContextParallelConfig
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from gamecraft.errors import GameCraftError, InputError
from gamecraft.models.cpu_ranks import support_cpu_ranks
from gamecraft.models.shared_tiles import share_tiles
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.runtime import Runtime, world_size

__all__ = ["agree", "countable_devices", "lost_ranks_told", "ranks_together", "share_work"]

_TIMEOUT = timedelta(minutes=10)
_LOST = re.compile(
    r"closed by peer|reset by peer|connection refused|timed out|broken pipe|remote process", re.IGNORECASE
)


@contextmanager
def ranks_together(runtime: Runtime, device: torch.device) -> Iterator[None]:
    """Connect the processes of torchrun for the time of a block; nothing without torchrun.

    Raises:
        InputError: the options need another number of processes.
        GameCraftError: another process ended or does not answer.
    """
    if world_size() != runtime.ranks:
        raise InputError(f"{world_size()} processes were started, but {runtime.sharing} needs {runtime.ranks}")
    if runtime.ranks == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        with lost_ranks_told():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
            yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def lost_ranks_told() -> Iterator[None]:
    """Within the block, GameCraftError where a collective operation fails because another process has gone."""
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        if _LOST.search(str(error)):
            raise GameCraftError(
                f"process {os.environ.get('RANK')} of {world_size()} lost another one, which ended or stopped "
                "answering; the first message of the others says why"
            ) from error
        raise


def agree(flag: bool) -> bool:
    """Whether any rank says so; every rank gets the same answer at the same place."""
    if not dist.is_initialized():
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    votes = torch.tensor([int(flag)], device=device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


def share_work(pipe: GameCraftPipeline, runtime: Runtime) -> None:
    """Divide the work of a pipeline as the options say, inside ``ranks_together``.

    Raises:
        InputError: the heads cannot be divided like that.
    """
    runtime.check_heads(pipe.transformer.config.num_attention_heads)
    halves = 2 if runtime.branches == "parallel" else 1
    kind = "cuda" if dist.get_backend() == "nccl" else "cpu"
    mesh = init_device_mesh(
        kind, (halves, runtime.ring, runtime.ulysses), mesh_dim_names=("guidance", "ring", "ulysses")
    )
    if halves == 2:
        pipe.guidance_ranks = _Halves(half=mesh.get_local_rank("guidance"), group=mesh.get_group("guidance"))
    if runtime.ring * runtime.ulysses > 1:
        _share_tokens(pipe.transformer, runtime, mesh)
    if isinstance(pipe.vae, AutoencoderKLHunyuanVideo):
        share_tiles(pipe.vae)


@dataclass(frozen=True, kw_only=True)
class _Halves:
    half: int
    group: Any

    def gather(self, velocity: Tensor) -> Tensor:
        """[B, ...] of each rank -> [2B, ...], the half without prompt first."""
        both = [torch.empty_like(velocity) for _ in range(2)]
        dist.all_gather(both, velocity.contiguous(), group=self.group)
        return torch.cat(both)


def _share_tokens(transformer: GameCraftTransformer3DModel, runtime: Runtime, mesh: Any) -> None:
    both = runtime.ring > 1 and runtime.ulysses > 1
    config = ContextParallelConfig(
        ring_degree=runtime.ring,
        ulysses_degree=runtime.ulysses,
        ulysses_anything=runtime.ulysses > 1 and not both,
        ring_anything=runtime.ring > 1 and not both,
        mesh=mesh,
    )
    if mesh.device_type == "cpu":
        support_cpu_ranks()
    elif runtime.ring > 1 and runtime.attention in ("auto", "native"):
        transformer.set_attention_backend("_native_cudnn")  # gives the sums that ring attention adds up
    with countable_devices():
        transformer.enable_parallelism(config=config)
    transformer.register_forward_pre_hook(_check_lengths(transformer, runtime.ring * runtime.ulysses, equal=both))


def _check_lengths(transformer: GameCraftTransformer3DModel, ranks: int, *, equal: bool) -> Any:
    def check(module: Any, arguments: tuple[Any, ...]) -> None:
        _, _, frames, height, width = arguments[0].shape
        image = frames * (height // transformer.config.patch_size) * (width // transformer.config.patch_size)
        text = arguments[2].shape[1]
        if min(image, text) < ranks:
            raise InputError(
                f"{ranks} ranks cannot share {image} image and {text} text tokens; give longer prompts, the negative "
                "one too, or use branches parallel"
            )
        if equal and (image % ranks or text % ranks):
            raise InputError(
                f"ring and ulysses together need lengths that {ranks} divides, not {image} image and {text} text "
                "tokens; use one of them alone"
            )

    return check


@contextmanager
def countable_devices() -> Iterator[None]:
    """diffusers divides by the number of accelerators, which is 0 where the processes run on CPUs."""
    count = torch.accelerator.device_count
    try:
        torch.accelerator.device_count = lambda: max(1, count())
        yield
    finally:
        torch.accelerator.device_count = count
