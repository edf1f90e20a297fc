"""Plan: a folder of the pipeline becomes a published weights folder."""

import json
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKLHunyuanVideo, ModelMixin

from gamecraft.checkpoints import without_memory
from gamecraft.conversion.component import Component, WeightFile, renames, safetensors_files, torch_file
from gamecraft.conversion.layout import CLIP_FOLDER, LLAVA_FOLDER, TRANSFORMER_FILES, VAE_FOLDER, Variant
from gamecraft.conversion.plan import Options, Plan
from gamecraft.conversion.sources import TensorSource, open_weights, read_settings
from gamecraft.conversion.text import CLIP, LLAVA, copy_tokenizer, llava_config, published_text_config, tokenizer_class
from gamecraft.conversion.transformer import transformer_steps_to_official
from gamecraft.conversion.vae import convert_vae_config_to_official, names_to_official
from gamecraft.errors import CheckpointError
from gamecraft.models.transformer import GameCraftTransformer3DModel

__all__ = ["plan_to_official"]


def plan_to_official(source: Path, dest: Path, options: Options, *, variant: Variant | None = None) -> Plan:
    """Check everything in `source` and say what `dest` will hold.

    Args:
        source: folder of a pipeline.
        dest: folder to write.
        options: types and file sizes.
        variant: under which name the transformer appears; None = standard.

    Raises:
        CheckpointError: a part is missing, damaged, or has no published counterpart.
    """
    config = _read_config(source / "transformer", GameCraftTransformer3DModel)
    transformer = open_weights(source / "transformer", "diffusion_pytorch_model")
    model = Component(
        source=transformer,
        steps=transformer_steps_to_official(config, transformer),
        dtype=options.dtype,
        float32=("camera_net.",),
    )
    vae_config = _read_config(source / "vae", AutoencoderKLHunyuanVideo)
    vae_source = open_weights(source / "vae", "diffusion_pytorch_model")
    vae_names = names_to_official(vae_config, vae_source.metas)
    vae = Component(source=vae_source, steps=renames(vae_names), dtype=options.dtype)

    files: list[WeightFile] = [
        torch_file(model, dest / TRANSFORMER_FILES[variant or "standard"], "module"),
        torch_file(vae, dest / VAE_FOLDER / "pytorch_model.pt", "state_dict"),
    ]
    small: dict[str, str] = {f"{VAE_FOLDER}/config.json": _json(convert_vae_config_to_official(vae_config))}
    sources: list[TensorSource] = [transformer, vae_source]
    for tower, name, target in ((LLAVA, "text_encoder", LLAVA_FOLDER), (CLIP, "text_encoder_2", CLIP_FOLDER)):
        tokenizer_class(source / name.replace("text_encoder", "tokenizer"))  # said now rather than after the work
        text_config = tower.read_config(source / name)
        weights = open_weights(source / name, "model")
        names = tower.names_to_official(text_config, weights.metas)
        component = Component(source=weights, steps=renames(names), dtype=options.dtype)
        parts, index = safetensors_files(component, dest / target, "model", options.max_shard_bytes)
        files += parts
        sources.append(weights)
        if index:
            small[f"{target}/model.safetensors.index.json"] = index
        published = published_text_config(text_config)
        if tower is LLAVA:
            published = llava_config(published, source / "tokenizer")
        small[f"{target}/config.json"] = _json(published)

    def finish(dest: Path) -> None:
        copy_tokenizer(source / "tokenizer", dest / LLAVA_FOLDER)
        copy_tokenizer(source / "tokenizer_2", dest / CLIP_FOLDER)
        for file, text in small.items():
            (dest / file).write_text(text)

    description = {"from": "diffusers", "to": "official", "variant": variant or "standard"}
    return Plan(description=description, sources=tuple(sources), files=tuple(files), finish=finish)


def _read_config(folder: Path, expected: type[ModelMixin]) -> dict[str, Any]:
    """All settings of a model; the file may leave out defaults."""
    file = folder / "config.json"
    content = read_settings(file)
    if (name := content.get("_class_name")) != expected.__name__:
        raise CheckpointError(f"{file}: the model is {name!r:.60}; only {expected.__name__} has a published form")
    return dict(without_memory(lambda: expected.from_config(content), str(file)).config)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
