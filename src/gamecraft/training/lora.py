"""Fine-tuning by low-rank layers beside the matrices of the blocks (LoRA, arXiv 2106.09685), through peft.

The base stays as it is. What is trained and saved is one file, which `GameCraftPipeline.load_lora_weights`, or `--lora`
of the command line, puts on the base model.
"""

from dataclasses import dataclass
from typing import Any

import torch

from gamecraft.apply_runtime import block_linears
from gamecraft.errors import InputError
from gamecraft.models.transformer import GameCraftTransformer3DModel

__all__ = ["LoraSettings", "add_lora", "lora_weights"]


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank layers are trained instead of the whole model.

    Their strength in training is 1 (peft's alpha is the rank); whoever uses the file may choose another.
    """

    rank: int = 16
    """Inner width of a layer; the file grows with it."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"lora.rank is {self.rank}, expected at least 1")


def add_lora(transformer: GameCraftTransformer3DModel, settings: LoraSettings, seed: int) -> None:
    """Freeze the model and put trainable layers in float32 beside its block matrices; they change nothing at first."""
    try:
        from peft import LoraConfig
    except ImportError:
        raise InputError("training with lora needs peft: pip install 'gamecraft[lora]'") from None
    transformer.requires_grad_(False)
    config = LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=list(block_linears(transformer)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer.add_adapter(config)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def lora_weights(transformer: GameCraftTransformer3DModel, state: dict[str, Any]) -> dict[str, Any]:
    """The low-rank layers among the weights `state` of a transformer with them, by the names a LoRA file has."""
    from peft import get_peft_model_state_dict

    weights: dict[str, Any] = get_peft_model_state_dict(transformer, state_dict=state)
    return weights
