"""What each process of the tests of parallel runs does."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from gamecraft.apply_runtime import apply_runtime
from gamecraft.chunk_pipeline import Prompts
from gamecraft.history import History
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.parallel import ranks_together
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.runtime import Runtime, is_writer
from test_published_play import published_pipeline
from tiny import tiny_pipeline


def chunk(pipe: GameCraftPipeline, *, text: tuple[int, int] = (12, 5), steps: int = 2, rows: int = 4) -> torch.Tensor:
    """Latents of one guided chunk after a picture; the two prompts have different lengths."""
    random = torch.Generator().manual_seed(0)
    channels, width = pipe.vae.config.latent_channels, pipe.transformer.config.text_embed_dim

    def prompt(length: int) -> PromptEmbeds:
        embeds = torch.randn(1, 12, width, generator=random)
        pooled = torch.randn(1, pipe.transformer.config.pooled_projection_dim, generator=random)
        return PromptEmbeds(embeds, (torch.arange(12) < length).long()[None], pooled)

    history = History(clips=(torch.randn(1, channels, 1, rows, 6, generator=random),), poses=(np.eye(4)[None],))
    poses = np.tile(np.eye(4), (pipe.config.chunk_frames, 1, 1))
    poses[:, 2, 3] = np.arange(1, len(poses) + 1) / 10
    return pipe.generate_chunk(
        history,
        poses,
        Prompts(positive=prompt(text[0]), negative=prompt(text[1])),
        generator=torch.Generator().manual_seed(1),
        num_inference_steps=steps,
        guidance_scale=3.0,
    )


def run_case(case: dict[str, Any], output: Path) -> None:
    """A chunk, its video for the published networks, or an end without warning."""
    runtime = Runtime(device="cpu", dtype="fp32", **case.get("runtime", {}))
    with ranks_together(runtime, torch.device("cpu")):
        published = case.get("published", False)
        pipe = published_pipeline() if published else tiny_pipeline()
        apply_runtime(pipe, runtime)
        if published:
            set_vae_tiling(pipe.vae, True, tile_size=32)
        if case.get("dies") == int(os.environ.get("RANK", "0")):
            os._exit(3)
        latents = chunk(pipe, **case.get("chunk", {}))
        result = {"latents": latents}
        if published:
            result["video"] = pipe.decode_latents(latents[:, :, :2]).contiguous()
        if is_writer():
            save_file(result, output)


def run_cases(cases: list[dict[str, Any]], folder: Path) -> None:
    """One case after the other; the first rank leaves ``NUMBER.safetensors``."""
    port = int(os.environ["MASTER_PORT"])
    for number, case in enumerate(cases):
        os.environ["MASTER_PORT"] = str(port + number)  # a rank must not find the store of the case before
        run_case(case, folder / f"{number}.safetensors")
