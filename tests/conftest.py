from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from gamecraft.pipeline import GameCraftPipeline
from tiny import tiny_pipeline

pytest_plugins = ["page_fixtures", "training_cases"]

settings.register_profile("patient", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("patient")
torch.set_num_threads(1)  # for networks this small, more threads only wait for each other
# Nor may anything that is tested start some: tests fork, and in the fork a parallel loop would wait for them for ever.
torch.set_num_threads = lambda threads: None


@pytest.fixture(scope="session")
def pipe() -> GameCraftPipeline:
    """Random weights; 5 frames of 32x48 pixels are a chunk of 2 latents."""
    return tiny_pipeline()


@pytest.fixture(scope="session")
def model_folder(pipe: GameCraftPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """Coloured noise, uint8 [32, 48, 3]."""
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
