"""A tiny dataset with latents and a tiny training on it, as fixtures."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from gamecraft.dataset import ClipRecord, ClipWriter
from gamecraft.models.text import PromptSettings
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.training.history_sampling import HistoryMix, OwnHistory
from gamecraft.training.latents import encode_dataset
from gamecraft.training.optimizers import Schedule
from gamecraft.training.transformer import TransformerShape, TransformerTraining
from gamecraft.training.transformer_evaluation import EvaluationSettings
from gamecraft.trajectory import integrate

FRAMES, CLIPS = 36, 5
EVEN_MIX = HistoryMix(clip=0.4, clips=0.3, image=0.3)


def clip_records(clips: int, frames: int) -> list[ClipRecord]:
    """Clips of 32x48 pixels in one changing colour each, with a random walk."""
    random = np.random.default_rng(0)
    records = []
    for clip in range(clips):
        poses, _ = integrate(random.normal(size=(frames, 5)) * 0.05)
        tint = random.integers(0, 256, 3)
        pixels = np.broadcast_to(tint, (frames, 32, 48, 3)) + np.arange(frames)[:, None, None, None]
        records.append(
            ClipRecord(
                frames=(pixels % 256).astype(np.uint8),
                poses=poses,
                actions_json="[]",
                caption_short=f"short {clip}",
                caption_long=f"a longer caption {clip}",
                theme="forest",
                world_seed=clip,
            )
        )
    return records


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, pipe: GameCraftPipeline) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    ClipWriter(folder, fps=24, height=32, width=48).write(0, clip_records(CLIPS, FRAMES))
    encode_dataset(pipe.vae, folder, "tiny", chunk_frames=9)
    return folder


@pytest.fixture
def training(recordings: Path, model_folder: Path, tmp_path: Path) -> TransformerTraining:
    AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the precision of the test before
    return TransformerTraining(
        run=str(tmp_path / "run"),
        data=str(recordings),
        held_out=str(recordings),
        latents="tiny",
        text=str(model_folder),
        autoencoder=str(model_folder / "vae"),
        model=TransformerShape(
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            rope_axes_dim=(4, 4, 4, 2, 2),
        ),
        prompt=PromptSettings(max_length=12),
        max_steps=6,
        batch_size=2,
        schedule=Schedule(warmup_steps=1, cooldown_steps=2),
        history_mix=EVEN_MIX,
        own_history=OwnHistory(share=0.5, steps=1),
        compile=False,
        log_every=2,
        evaluation=EvaluationSettings(sigmas=(0.5,), samples=2, sheet_rows=2, steps=2),
    )


def write_recipe(config: TransformerTraining, file: Path) -> Path:
    """The training as a recipe for the command line; JSON is YAML."""
    file.write_text(json.dumps({"task": "transformer", **asdict(config)}))
    return file
