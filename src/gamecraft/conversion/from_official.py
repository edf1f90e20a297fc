"""Plan: a published weights folder becomes a folder for ``GameCraftPipeline.from_pretrained``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler

from gamecraft.conversion.component import Component, WeightFile, renames, safetensors_files
from gamecraft.conversion.layout import PublishedFolder, Variant
from gamecraft.conversion.plan import Options, Plan
from gamecraft.conversion.sources import MappedSource, TensorSource, open_weights
from gamecraft.conversion.text import CLIP, LLAVA, TextTower, copy_tokenizer, tokenizer_class
from gamecraft.conversion.transformer import open_official_transformer, transformer_steps_from_official
from gamecraft.conversion.vae import convert_vae_config_from_official, names_from_official, read_official_vae
from gamecraft.errors import CheckpointError
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.text import PromptSettings
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.packaging import pack_folder

__all__ = ["plan_from_official"]

# As published: chunk and size the model was trained for, and the settings of the published commands.
CHUNK: dict[str, Any] = {"chunk_frames": 33, "fps": 24, "height": 704, "width": 1216, "history_clips": 1}
SAMPLING: dict[Variant, dict[str, Any]] = {
    "standard": {"num_inference_steps": 50, "guidance_scale": 2.0},
    "distilled": {"num_inference_steps": 8, "guidance_scale": 1.0},
}
FLOW_SHIFT = 5.0


def plan_from_official(
    source: Path,
    dest: Path,
    options: Options,
    *,
    variant: Variant | None = None,
    weights: Literal["module", "ema"] = "module",
    rope_axes_dim: tuple[int, int, int] = (16, 56, 56),
) -> Plan:
    """Check everything in `source` and say what `dest` will hold.

    Args:
        source: published folder.
        dest: folder to write.
        options: types and file sizes.
        variant: which transformer, where there are several.
        weights: the trained weights or their moving average, where the file has both.
        rope_axes_dim: rotary dimensions of (time, row, column), which the weights do not show.

    Raises:
        CheckpointError: a part is missing, damaged, or does not fit the others.
    """
    folder = PublishedFolder.find(source, variant)
    transformer = open_official_transformer(folder.transformer, weights)
    config, steps = transformer_steps_from_official(transformer, rope_axes_dim)
    model = Component(source=transformer, steps=steps, dtype=options.dtype, float32=("action_encoder.",))

    published_vae, _ = read_official_vae(folder.vae)
    vae_config = convert_vae_config_from_official(published_vae)
    vae_source = MappedSource(folder.vae / "pytorch_model.pt", lambda: read_official_vae(folder.vae)[1])
    vae_names = names_from_official(vae_config, vae_source.metas)
    vae = Component(source=vae_source, steps=renames(vae_names), dtype=options.dtype)

    llava, llava_component = _text_component(LLAVA, folder.llava, options)
    clip, clip_component = _text_component(CLIP, folder.clip, options)
    _check_fit(
        ("text_embed_dim", config["text_embed_dim"], "the language model's width", llava.hidden_size),
        ("pooled_projection_dim", config["pooled_projection_dim"], "CLIP's width", clip.hidden_size),
        ("out_channels", config["out_channels"], "the autoencoder's channels", vae_config["latent_channels"]),
    )

    files: list[WeightFile] = []
    indices: dict[Path, str] = {}
    for component, name, stem in (
        (model, "transformer", "diffusion_pytorch_model"),
        (vae, "vae", "diffusion_pytorch_model"),
        (llava_component, "text_encoder", "model"),
        (clip_component, "text_encoder_2", "model"),
    ):
        parts, index = safetensors_files(component, dest / name, stem, options.max_shard_bytes)
        files += parts
        if index:
            indices[dest / name / f"{stem}.safetensors.index.json"] = index

    def finish(dest: Path) -> None:
        with torch.device("meta"):
            GameCraftTransformer3DModel.from_config(config).save_config(dest / "transformer")
            AutoencoderKLHunyuanVideo.from_config(vae_config).save_config(dest / "vae")
        FlowMatchEulerDiscreteScheduler(shift=FLOW_SHIFT).save_pretrained(dest / "scheduler")
        for text_config, component, name in (
            (llava, llava_component, "text_encoder"),
            (clip, clip_component, "text_encoder_2"),
        ):
            text_config.dtype = _common_dtype(component)
            text_config.save_pretrained(dest / name)
        copy_tokenizer(folder.llava, dest / "tokenizer")
        copy_tokenizer(folder.clip, dest / "tokenizer_2")
        for path, text in indices.items():
            path.write_text(text)
        (dest / "model_index.json").write_text(json.dumps(_model_index(dest, folder.variant)))
        pack_folder(dest)

    description = {"from": "official", "to": "diffusers", "variant": folder.variant, "weights": weights}
    sources: tuple[TensorSource, ...] = (transformer, vae_source, llava_component.source, clip_component.source)
    return Plan(description=description, sources=sources, files=tuple(files), finish=finish)


def _text_component(tower: TextTower, folder: Path, options: Options) -> tuple[Any, Component]:
    config = tower.read_config(folder)
    source = open_weights(folder, "model")
    names = tower.names_from_official(config, source.metas)
    config.architectures = [tower.model_class.__name__]
    return config, Component(source=source, steps=renames(names), dtype=options.dtype)


def _check_fit(*pairs: tuple[str, int, str, int]) -> None:
    for ours, expected, what, found in pairs:
        if expected != found:
            raise CheckpointError(
                f"the parts do not belong together: the transformer's {ours} is {expected}, but {what} {found}"
            )


def _common_dtype(component: Component) -> torch.dtype:
    return next(meta.dtype for step in component.steps for meta in component.metas(step).values())


def _model_index(dest: Path, variant: Variant) -> dict[str, Any]:
    return {
        "_class_name": "GameCraftPipeline",
        "_diffusers_version": diffusers.__version__,
        "vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
        "text_encoder": ["transformers", "LlamaModel"],
        "tokenizer": ["transformers", tokenizer_class(dest / "tokenizer")],
        "text_encoder_2": ["transformers", "CLIPTextModel"],
        "tokenizer_2": ["transformers", tokenizer_class(dest / "tokenizer_2")],
        "transformer": ["gamecraft.models.transformer", "GameCraftTransformer3DModel"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "intrinsics": asdict(Intrinsics()),
        "prompt_settings": asdict(PromptSettings.published()),
        **CHUNK,
        **SAMPLING[variant],
    }
