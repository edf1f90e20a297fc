"""Long sequences in training: groups of processes that share the tokens of each batch (Ulysses context parallelism).

diffusers divides the tokens at the first block and gathers the last layer's; its attention has a backward pass where
the pieces are equal. Every process of a group then has a part of each weight's gradient; the sum over the group is the
whole, as `tests/test_train_processes.py` compares with one process.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from diffusers import ContextParallelConfig
from torch.distributed.device_mesh import init_device_mesh

from gamecraft.errors import InputError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.parallel import countable_devices

__all__ = ["share_sequence"]


def share_sequence(transformer: GameCraftTransformer3DModel, ranks: int, device: torch.device) -> None:
    """Let each `ranks` neighbouring processes share the tokens of the transformer's batches, which must be the same.

    Raises:
        InputError: `ranks` does not divide the processes or the heads; at a forward pass, image or text tokens.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    heads = transformer.config.num_attention_heads
    if world % ranks or heads % ranks:
        raise InputError(f"context_parallel is {ranks}; it must divide the {world} processes and the {heads} heads")
    mesh = init_device_mesh(device.type, (world // ranks, 1, ranks), mesh_dim_names=("data", "ring", "ulysses"))
    with countable_devices():
        transformer.enable_parallelism(config=ContextParallelConfig(ulysses_degree=ranks, mesh=mesh))

    def check(module: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        words = named["encoder_hidden_states"] if "encoder_hidden_states" in named else arguments[2]
        image, text = named["action_embeds"].shape[1], words.shape[1]
        if image % ranks or text % ranks:
            raise InputError(
                f"context_parallel is {ranks}; it must divide the {image} image tokens of a batch and the {text} text "
                "tokens (prompt.max_length)"
            )

    transformer.register_forward_pre_hook(check, with_kwargs=True)
