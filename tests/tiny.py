"""The whole pipeline with tiny random networks."""

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.training.text_tokenizer import train_tokenizer

CHUNK = 5
SIZE = (32, 48)
_TOKENS = 12


def tiny_pipeline(*, history_rays: str = "zero", **config: Any) -> GameCraftPipeline:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a village by the sea", "a dark forest at night"], 300, _TOKENS)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    shape = {"num_attention_heads": 2, "intermediate_size": 16, "vocab_size": len(tokenizer)}
    llama = LlamaConfig(hidden_size=8, num_hidden_layers=3, max_position_embeddings=_TOKENS, **shape, **ids)
    clip = CLIPTextConfig(hidden_size=8, num_hidden_layers=1, max_position_embeddings=_TOKENS, **shape, **ids)
    transformer = GameCraftTransformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=8,
        pooled_projection_dim=8,
        rope_axes_dim=(4, 6, 6),
        action_channels=2,
        history_rays=history_rays,
    )
    for name, weights in transformer.named_parameters():
        if "modulation" in name or "norm" in name or "action_encoder" in name:
            torch.nn.init.normal_(weights, std=0.3)  # so that text, time and actions have a visible effect
    settings = {"chunk_frames": CHUNK, "height": SIZE[0], "width": SIZE[1], "num_inference_steps": 2}
    pipe = GameCraftPipeline(
        vae=AutoencoderPatchCode(latent_channels=4, stage_channels=(8, 8), stage_blocks=(1, 1)),
        text_encoder=LlamaModel(llama),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModel(clip),
        tokenizer_2=tokenizer,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        **(settings | {"prompt_settings": {"max_length": _TOKENS}} | config),
    )
    pipe.vae.basis.copy_(torch.linalg.qr(torch.randn(pipe.vae.basis.shape[1], 4)).Q.T)  # so that all pixels change
    for module in (pipe.vae, pipe.text_encoder, pipe.text_encoder_2, pipe.transformer):
        module.eval()
    return pipe
