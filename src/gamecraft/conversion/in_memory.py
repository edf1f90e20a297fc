"""A published weights folder as a pipeline, without writing a converted one."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import PreTrainedModel

from gamecraft.conversion.layout import FLOW_SHIFT, PublishedFolder, pipeline_settings
from gamecraft.conversion.sources import open_weights
from gamecraft.conversion.text import CLIP, LLAVA, TextTower, load_tokenizer
from gamecraft.conversion.vae import load_official_vae
from gamecraft.errors import CheckpointError
from gamecraft.memory import check_main_memory
from gamecraft.models.text import PromptSettings
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.pipeline import GameCraftPipeline

__all__ = ["load_published"]


def load_published(
    folder: PublishedFolder,
    *,
    weights: Literal["module", "ema"] = "module",
    rope_axes_dim: tuple[int, int, int] = (16, 56, 56),
    dtype: torch.dtype | None = None,
    flow_shift: float = FLOW_SHIFT,
    **settings: Any,
) -> GameCraftPipeline:
    """The pipeline of published weights, on the CPU.

    Args:
        folder: where the parts are.
        weights: the trained weights or their moving average, where the file has both.
        rope_axes_dim: rotary dimensions of (time, row, column), which the weights do not show.
        dtype: of all weights beside the action encoder; None keeps the stored ones, and those of the transformer
            mapped to its file. The autoencoder is then float32, because CPUs do not convolve in float16.
        flow_shift: of the noise schedule.
        settings: arguments of ``GameCraftPipeline`` in place of the published ones.

    Raises:
        CheckpointError: a part is missing, damaged, or does not fit the others.
        InputError: it does not fit into main memory.
    """
    transformer = GameCraftTransformer3DModel.from_single_file(
        folder.transformer, weights=weights, rope_axes_dim=rope_axes_dim, dtype=dtype
    )
    text, text_2 = (_load_tower(tower, part, dtype) for tower, part in ((LLAVA, folder.llava), (CLIP, folder.clip)))
    for name, found in (("text_embed_dim", text), ("pooled_projection_dim", text_2)):
        if transformer.config[name] != found.config.hidden_size:
            raise CheckpointError(
                f"the parts do not belong together: the transformer's {name} is {transformer.config[name]}, the text "
                f"model's width {found.config.hidden_size}"
            )
    return GameCraftPipeline(
        vae=load_official_vae(folder.vae, dtype or torch.float32),
        text_encoder=text,
        tokenizer=load_tokenizer(folder.llava),
        text_encoder_2=text_2,
        tokenizer_2=load_tokenizer(folder.clip),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=flow_shift),
        prompt_settings=asdict(PromptSettings.published()),
        **{**pipeline_settings(folder.variant), **settings},
    )


def _load_tower(tower: TextTower, folder: Path, dtype: torch.dtype | None) -> PreTrainedModel:
    source = open_weights(folder, "model")
    config = tower.read_config(folder)
    names = tower.names_from_official(config, source.metas)
    metas = [source.metas[name] for name in names]
    needed = sum(meta.numel() * (dtype or meta.dtype).itemsize for meta in metas)
    check_main_memory(needed, f"the text model in {folder}")
    state_dict = {new.removeprefix(tower.prefix): source.read(old) for old, new in names.items()}
    # names and shapes are checked already; without a path, the class only takes the tensors as they are
    stored = dtype or next(tensor.dtype for tensor in state_dict.values() if tensor.is_floating_point())
    model: PreTrainedModel = tower.model_class.from_pretrained(None, config=config, state_dict=state_dict, dtype=stored)
    return model.eval()
