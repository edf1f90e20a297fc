"""What a training leaves: a model folder or a LoRA file, with how it is to be sampled."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gamecraft.assembly import SAMPLING_FILE
from gamecraft.errors import CheckpointError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.lora import lora_weights

__all__ = ["TrainedWeights", "save_trained"]


class TrainedWeights:
    """The weights that a training changes, as part of a checkpoint: all of a model, or its low-rank layers."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = {
            name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad
        }  # the same memory: what is loaded here is in the model

    def state_dict(self) -> dict[str, Tensor]:
        """The weights by name."""
        return dict(self._weights)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave; CheckpointError if it is of another model."""
        if state.keys() != self._weights.keys():
            names = sorted(state.keys() ^ self._weights.keys())
            raise CheckpointError(f"the checkpoint is of another model: {names[0]} is in one of the two only")
        for name, weight in self._weights.items():
            if state[name].shape != weight.shape:
                raise CheckpointError(
                    f"the checkpoint is of another model: {name} has the shape {list(state[name].shape)} there and "
                    f"{list(weight.shape)} here; choose another run folder"
                )
            weight.copy_(state[name])


def save_trained(
    transformer: GameCraftTransformer3DModel, state: dict[str, Any], folder: Path, sampling: Mapping[str, float]
) -> None:
    """Write `transformer/`, or `lora/` for a model with low-rank layers, into a run folder; it appears whole.

    Args:
        transformer: the model, which may be sharded.
        state: its weights, whole, on the CPU.
        folder: run folder.
        sampling: shift, steps and guidance scale it is meant for.

    Raises:
        CheckpointError: the disk does not take it; what was there before stays.
    """
    lora = bool(getattr(transformer, "peft_config", None))
    target = folder / ("lora" if lora else "transformer")
    partial, old = target.with_name(target.name + ".tmp"), target.with_name(target.name + ".old")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if lora:
            from gamecraft.pipeline import GameCraftPipeline

            GameCraftPipeline.save_lora_weights(partial, transformer_lora_layers=lora_weights(transformer, state))
        else:
            _with_weights(transformer, state).save_pretrained(partial)
        (partial / SAMPLING_FILE).write_text(json.dumps(sampling, indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{target} could not be written ({error}); what was there is whole: make room and give the command again"
        ) from error
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)


def _with_weights(transformer: GameCraftTransformer3DModel, state: dict[str, Any]) -> GameCraftTransformer3DModel:
    """A model that has the weights as they are given, without a copy of them."""
    with torch.device("meta"):
        whole: GameCraftTransformer3DModel = GameCraftTransformer3DModel.from_config(transformer.config)
    whole.load_state_dict(state, strict=True, assign=True)
    return whole
