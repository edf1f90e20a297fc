"""A tiny weights folder in the published layout."""

import shutil
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from gamecraft.checkpoints import convert_transformer_to_official
from gamecraft.conversion.layout import CLIP_FOLDER, LLAVA_FOLDER, TRANSFORMER_FILES, VAE_FOLDER
from transformer_cases import GOLDENS, tiny_model

ROPE_AXES = (4, 6, 6)


@cache
def published_transformer() -> dict[str, Tensor]:
    """Published tensors of a random transformer that fits the recorded autoencoder and text encoders."""
    model = tiny_model(in_channels=33, out_channels=16, text_embed_dim=32, pooled_projection_dim=24)
    return convert_transformer_to_official(model.config, model.state_dict())


def write_published_folder(folder: Path) -> Path:
    """Weights of a standard and a distilled model (which is all zeros)."""
    for variant, name in TRANSFORMER_FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        factor = 1.0 if variant == "standard" else 0.0
        torch.save({"module": {name: tensor * factor for name, tensor in published_transformer().items()}}, file)
    for source, target in (
        ("vae", VAE_FOLDER),
        ("text/text_encoder_llava", LLAVA_FOLDER),
        ("text/text_encoder_clip", CLIP_FOLDER),
    ):
        shutil.copytree(GOLDENS / source, folder / target, copy_function=shutil.copyfile)
    return folder
