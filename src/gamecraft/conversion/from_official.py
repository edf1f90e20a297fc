"""Plan: a published weights folder becomes a folder for ``GameCraftPipeline.from_pretrained``."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler

from gamecraft.apply_runtime import block_linears
from gamecraft.conversion.component import Component, WeightFile, renames, safetensors_files
from gamecraft.conversion.layout import FLOW_SHIFT, PublishedFolder, Variant, pipeline_settings
from gamecraft.conversion.plan import Options, Plan
from gamecraft.conversion.sources import MappedSource, open_weights
from gamecraft.conversion.text import CLIP, LLAVA, TextTower, copy_tokenizer, tokenizer_class
from gamecraft.conversion.transformer import open_official_transformer, transformer_steps_from_official
from gamecraft.conversion.vae import convert_vae_config_from_official, names_from_official, read_official_vae
from gamecraft.errors import CheckpointError
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.text import PromptSettings
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.packaging import pack_folder

__all__ = ["plan_from_official"]


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
    transformer = _transformer_part(folder.transformer, weights, rope_axes_dim, options)
    vae = _vae_part(folder.vae, options)
    text = _text_part(LLAVA, "text_encoder", folder.llava, options)
    text_2 = _text_part(CLIP, "text_encoder_2", folder.clip, options)
    _check_fit(transformer.config, vae.config, text.config, text_2.config)
    tokenizers = [tokenizer_class(part) for part in (folder.llava, folder.clip)]

    files: list[WeightFile] = []
    indices: dict[Path, str] = {}
    for part in (transformer, vae, text, text_2):
        some, index = safetensors_files(part.component, dest / part.name, part.stem, options.max_shard_bytes)
        files += some
        if index:
            indices[dest / part.name / f"{part.stem}.safetensors.index.json"] = index

    def finish(dest: Path) -> None:
        for part in (transformer, vae, text, text_2):
            part.save_config(dest / part.name)
        FlowMatchEulerDiscreteScheduler(shift=FLOW_SHIFT).save_pretrained(dest / "scheduler")
        copy_tokenizer(folder.llava, dest / "tokenizer")
        copy_tokenizer(folder.clip, dest / "tokenizer_2")
        for path, index in indices.items():
            path.write_text(index)
        (dest / "model_index.json").write_text(json.dumps(_model_index(folder.variant, tokenizers)))
        pack_folder(dest)

    description = {"from": "official", "to": "diffusers", "variant": folder.variant, "weights": weights}
    sources = tuple(part.component.source for part in (transformer, vae, text, text_2))
    return Plan(description=description, sources=sources, files=tuple(files), finish=finish)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One model: its folder, how its files are called, its weights, its settings and how these are saved."""

    name: str
    stem: str = "diffusion_pytorch_model"
    component: Component
    config: Mapping[str, Any]
    save_config: Callable[[Path], None]


def _transformer_part(
    file: Path, weights: Literal["module", "ema"], rope_axes_dim: tuple[int, int, int], options: Options
) -> _Part:
    source = open_official_transformer(file, weights)
    config, steps = transformer_steps_from_official(source, rope_axes_dim)
    with torch.device("meta"):
        model = GameCraftTransformer3DModel.from_config(config)
    fp8 = frozenset(f"{name}.weight" for name in block_linears(model)) if options.fp8 else frozenset()
    component = Component(source=source, steps=steps, dtype=options.dtype, float32=("action_encoder.",), fp8=fp8)
    return _Part(name="transformer", component=component, config=model.config, save_config=model.save_config)


def _vae_part(folder: Path, options: Options) -> _Part:
    source = MappedSource(folder / "pytorch_model.pt", lambda: read_official_vae(folder)[1])
    config = convert_vae_config_from_official(read_official_vae(folder)[0])
    steps = renames(names_from_official(config, source.metas))
    component = Component(source=source, steps=steps, dtype=options.dtype)
    with torch.device("meta"):
        model = AutoencoderKLHunyuanVideo.from_config(config)
    return _Part(name="vae", component=component, config=model.config, save_config=model.save_config)


def _text_part(tower: TextTower, name: str, folder: Path, options: Options) -> _Part:
    source = open_weights(folder, "model")
    config = tower.read_config(folder)
    steps = renames(tower.names_from_official(config, source.metas))
    component = Component(source=source, steps=steps, dtype=options.dtype)
    config.architectures = [tower.model_class.__name__]
    config.dtype = next(meta.dtype for meta in component.metas(steps[0]).values())
    return _Part(
        name=name, stem="model", component=component, config=config.to_dict(), save_config=config.save_pretrained
    )


def _check_fit(
    transformer: Mapping[str, Any], vae: Mapping[str, Any], text: Mapping[str, Any], text_2: Mapping[str, Any]
) -> None:
    for name, what, found in (
        ("text_embed_dim", "the language model's width", text["hidden_size"]),
        ("pooled_projection_dim", "CLIP's width", text_2["hidden_size"]),
        ("out_channels", "the autoencoder's channels", vae["latent_channels"]),
    ):
        if transformer[name] != found:
            raise CheckpointError(
                f"the parts do not belong together: the transformer's {name} is {transformer[name]}, but {what} {found}"
            )


def _model_index(variant: Variant, tokenizers: Sequence[str]) -> dict[str, Any]:
    return {
        "_class_name": "GameCraftPipeline",
        "_diffusers_version": diffusers.__version__,
        "vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
        "text_encoder": ["transformers", "LlamaModel"],
        "tokenizer": ["transformers", tokenizers[0]],
        "text_encoder_2": ["transformers", "CLIPTextModel"],
        "tokenizer_2": ["transformers", tokenizers[1]],
        "transformer": ["gamecraft.models.transformer", "GameCraftTransformer3DModel"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "intrinsics": asdict(Intrinsics()),
        "prompt_settings": asdict(PromptSettings.published()),
        **pipeline_settings(variant),
    }
