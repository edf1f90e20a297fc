from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

import gamecraft.packaging
from gamecraft.pipeline import GameCraftPipeline


def test_the_generic_loader_of_diffusers_gives_the_installed_classes(
    model_folder: Path, pipe: GameCraftPipeline
) -> None:
    loaded = DiffusionPipeline.from_pretrained(model_folder, trust_remote_code=True)
    assert type(loaded) is GameCraftPipeline
    for name, component in pipe.components.items():
        assert type(loaded.components[name]) is type(component), name
    found, expected = (model.transformer.state_dict() for model in (loaded, pipe))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_generic_loader_asks_before_it_runs_code(model_folder: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(model_folder)


def test_our_loader_runs_no_code_of_the_folder(pipe: GameCraftPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    modules = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.py"))
    assert modules == ["pipeline.py", "transformer/modeling.py", "vae/modeling.py"]
    for file in modules:
        (tmp_path / file).write_text("raise SystemExit")
    loaded = GameCraftPipeline.from_pretrained(tmp_path)
    assert type(loaded.transformer) is type(pipe.transformer)


def test_a_pipeline_can_be_saved_again(model_folder: Path, tmp_path: Path) -> None:
    GameCraftPipeline.from_pretrained(model_folder).save_pretrained(tmp_path)
    for file in ("model_index.json", "pipeline.py", "transformer/modeling.py"):
        assert (tmp_path / file).read_text() == (model_folder / file).read_text()
    for file in tmp_path.rglob("*.json"):
        assert str(model_folder) not in file.read_text()


def test_a_repository_of_the_hub_is_downloaded_first(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(repository: str, **arguments: object) -> str:
        asked.append((repository, arguments))
        return str(model_folder)

    monkeypatch.setattr(gamecraft.packaging, "snapshot_download", download)
    loaded = GameCraftPipeline.from_pretrained("someone/some-model", revision="v1", dtype=torch.bfloat16)
    assert asked == [("someone/some-model", {"revision": "v1"})]
    assert loaded.transformer.dtype == torch.bfloat16
