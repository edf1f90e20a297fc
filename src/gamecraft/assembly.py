"""Puts separately trained parts together as a model folder."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler
from transformers import AutoTokenizer, CLIPTextModel, LlamaModel

from gamecraft.errors import CheckpointError, InputError
from gamecraft.model_folder import check_model_folder
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.depth import DepthEstimator
from gamecraft.models.refiner import FrameRefiner
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.pipeline import GameCraftPipeline

__all__ = ["SAMPLING_FILE", "assemble"]

SAMPLING_FILE = "sampling.json"
"""In a trained transformer's folder: the shift, number of steps and guidance scale it was trained for."""


def assemble(
    transformer: Path,
    vae: Path,
    text: Path,
    output: Path,
    *,
    depth: Path | None = None,
    refiner: Path | None = None,
    dtype: torch.dtype = torch.float16,
    shift: float | None = None,
    **settings: Any,
) -> None:
    """Write a model folder that ``load_pipeline`` opens; it appears whole or not at all.

    Args:
        transformer, vae: folders of the two networks, with ``config.json``.
        text: folder with ``text_encoder``, ``tokenizer``, ``text_encoder_2`` and ``tokenizer_2``.
        output: a new folder.
        depth: folder of the depth estimator, for a transformer that was trained with a scene memory.
        refiner: folder of the refiner of decoded frames, which needs a scene memory.
        dtype: type in which the weights are stored.
        shift: of the noise schedule, see ``FlowMatchEulerDiscreteScheduler``.
        settings: further arguments of ``GameCraftPipeline``, such as chunk_frames. The shift, num_inference_steps and
            guidance_scale that are not given are those the transformer was trained for.

    Raises:
        CheckpointError: a part is missing or damaged, the parts do not fit each other, or ``output`` exists.
    """
    if output.exists():
        raise CheckpointError(f"{output} exists; choose a new folder")
    if refiner and not depth:
        raise CheckpointError("a refiner takes what the scene memory shows; give its depth estimator too (--depth)")
    towers = [text / name for name in ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")]
    for folder in (transformer, vae, *towers, *(part for part in (depth, refiner) if part)):
        if not folder.is_dir():
            raise CheckpointError(f"there is no folder {folder}")
    trained = _trained_sampling(transformer)
    trained_shift = trained.pop("shift", 3.0)
    try:
        pipe = GameCraftPipeline(
            vae=_load_vae(vae),
            text_encoder=LlamaModel.from_pretrained(towers[0]),
            tokenizer=AutoTokenizer.from_pretrained(towers[1]),
            text_encoder_2=CLIPTextModel.from_pretrained(towers[2]),
            tokenizer_2=AutoTokenizer.from_pretrained(towers[3]),
            transformer=GameCraftTransformer3DModel.from_pretrained(transformer),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=trained_shift if shift is None else shift),
            depth_estimator=DepthEstimator.from_pretrained(depth) if depth else None,
            refiner=FrameRefiner.from_pretrained(refiner) if refiner else None,
            **trained | settings,
        )
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"a part cannot be loaded: {str(error).strip().splitlines()[0]}") from error
    _check_fit(pipe)
    pipe.to(dtype=dtype)
    partial = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        pipe.save_pretrained(partial)
        check_model_folder(partial)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _trained_sampling(transformer: Path) -> dict[str, Any]:
    file = transformer / SAMPLING_FILE
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text())
        return {name: found[name] for name in ("shift", "num_inference_steps", "guidance_scale") if name in found}
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _load_vae(folder: Path) -> Any:
    config = AutoencoderPatchCode.load_config(folder)
    known = {kind.__name__: kind for kind in (AutoencoderPatchCode, AutoencoderKLHunyuanVideo)}
    if (name := config.get("_class_name")) not in known:
        raise CheckpointError(f"{folder} holds a {name}, expected one of {', '.join(known)}")
    return known[name].from_pretrained(folder)


def _check_fit(pipe: GameCraftPipeline) -> None:
    transformer, latents = pipe.transformer.config, pipe.vae.config.latent_channels
    wanted = {
        "out_channels": latents,
        "text_embed_dim": pipe.text_encoder.config.hidden_size,
        "pooled_projection_dim": pipe.text_encoder_2.config.hidden_size,
        "spatial_ratio": pipe.vae.spatial_compression_ratio,
    }
    for name, value in wanted.items():
        if getattr(transformer, name) != value:
            raise CheckpointError(
                f"the parts do not fit: the transformer has {name} {getattr(transformer, name)}, expected {value}"
            )
