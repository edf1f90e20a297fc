"""What a user of `gamecraft train` may get wrong is told in one line, and nothing is lost by it."""

import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gamecraft.cli import main
from gamecraft.dataset import ClipDataset, ClipWriter
from gamecraft.errors import InputError
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.training.history_sampling import OwnHistory
from gamecraft.training.latents import LatentDataset, encode_dataset
from gamecraft.training.run import RunFolder
from gamecraft.training.transformer import TransformerTraining
from training_cases import clip_records, write_recipe

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def shards(tmp_path: Path, pipe: GameCraftPipeline) -> Path:
    """Two encoded shards of two clips."""
    folder = tmp_path / "shards"
    for shard in range(2):
        ClipWriter(folder, fps=24, height=32, width=48).write(shard, clip_records(2, 27))
    encode_dataset(pipe.vae, folder, "tiny")
    return folder


@pytest.fixture
def short(training: TransformerTraining) -> TransformerTraining:
    return replace(training, max_steps=4, own_history=OwnHistory(), checkpoint_minutes=0.0)


@pytest.fixture
def fails(short: TransformerTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the training with changed settings and returns the one line of the error."""

    def run(*settings: str) -> str:
        recipe = write_recipe(short, tmp_path / "recipe.yaml")
        capsys.readouterr()
        assert main(["train", "--config", str(recipe), *[w for setting in settings for w in ("--set", setting)]]) == 2
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gamecraft train: ")]
        assert len(told) == 1
        return told[0]

    return run


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_misspelt_key_names_the_nearest(fails: Callable[..., str]) -> None:
    assert "unknown key batch_sise; did you mean batch_size?" in fails("batch_sise=4")
    assert "did you mean history_mix.image?" in fails("history_mix.imagee=1")
    assert "trackers[0] is 'tensorbord'" in fails("trackers=[tensorbord]")


def test_missing_and_empty_datasets_are_named(fails: Callable[..., str], shards: Path, tmp_path: Path) -> None:
    assert "no index.json" in fails(f"data={tmp_path / 'nowhere'}")
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copyfile(shards / "index.json", empty / "index.json")
    assert "has no complete shard" in fails(f"data={empty}")
    assert "encode the dataset first" in fails(f"data={shards}", "latents=others")
    assert "package is not installed" in fails("trackers=[wandb]")


def test_damaged_shards_are_left_out_and_counted(
    shards: Path, short: TransformerTraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    halve(shards / "latents" / "tiny" / "00000.safetensors")
    with caplog.at_level(logging.WARNING):
        dataset = LatentDataset(shards, "tiny")
    assert "1 of 2 shards are damaged and left out (first: 00000); 2 clips are left" in caplog.text
    assert len(dataset) == 2
    assert dataset.damaged == ["00000"]
    assert dataset.clip(0).path == ClipDataset(shards)[2].path
    recipe = write_recipe(replace(short, data=str(shards), max_steps=1), tmp_path / "recipe.yaml")
    assert main(["train", "--config", str(recipe)]) == 0


def test_a_damaged_manifest_is_left_out_and_counted(shards: Path, caplog: pytest.LogCaptureFixture) -> None:
    halve(shards / "shards" / "00001" / "manifest.parquet")
    with caplog.at_level(logging.WARNING):
        assert len(LatentDataset(shards, "tiny")) == 2
    assert "1 of 2 shards are damaged and left out (first: 00001); 2 clips are left" in caplog.text


def test_a_dataset_with_nothing_whole_is_refused(shards: Path) -> None:
    for file in (shards / "latents" / "tiny").iterdir():
        halve(file)
    with pytest.raises(InputError, match=r"every file in .* is damaged"):
        LatentDataset(shards, "tiny")


def test_a_full_disk_costs_nothing_that_was_saved(short: TransformerTraining, tmp_path: Path) -> None:
    whole = replace(short, run=f"{short.run}-whole")
    assert main(["train", "--config", str(write_recipe(whole, tmp_path / "whole.yaml"))]) == 0
    recipe = write_recipe(short, tmp_path / "recipe.yaml")
    limit = RunFolder(whole.run).checkpoints()[-1].stat().st_size // 2
    code, told = with_small_files(limit, ["train", "--config", str(recipe)])
    assert code == 2, told
    assert "checkpoint-000000001.pt could not be written" in told
    assert "Traceback" not in told
    assert not list(Path(short.run).glob("checkpoint*"))

    assert main(["train", "--config", str(recipe), "--set", "max_steps=2", "--set", "schedule.cooldown_steps=0"]) == 0
    before = RunFolder(short.run).checkpoints()[-1].read_bytes()
    code, told = with_small_files(limit, ["train", "--config", str(recipe)])
    assert code == 2, told
    assert "checkpoint-000000002.pt is whole" in told
    assert RunFolder(short.run).checkpoints()[-1].read_bytes() == before
    assert main(["train", "--config", str(recipe)]) == 0
    assert RunFolder(short.run).checkpoints()[-1].name == "checkpoint-000000004.pt"
    weights = load_file(Path(short.run) / "transformer" / WEIGHTS)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def with_small_files(limit: int, words: list[str]) -> tuple[int, str]:
    """Exit code and output of a command in a process that may write no file of more bytes than `limit`."""
    ended = subprocess.run(
        [sys.executable, "-m", "gamecraft", *words],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return ended.returncode, ended.stdout
