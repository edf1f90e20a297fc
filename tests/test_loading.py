"""A damaged model folder is refused in one sentence that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gamecraft.errors import CheckpointError
from gamecraft.loading import load_pipeline
from gamecraft.model_folder import check_model_folder, model_digest
from gamecraft.precision import quicken_gelu
from tiny import SIZE

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copied"))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def test_a_whole_folder_passes(model_folder: Path) -> None:
    assert check_model_folder(model_folder)["chunk_frames"] == 5


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: (f / "model_index.json").unlink(), "model_index.json is missing"),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json cannot be read as JSON"),
        (lambda f: (f / "model_index.json").write_bytes(b"\xff\xfe"), "model_index.json cannot be read as JSON"),
        (lambda f: (f / "model_index.json").write_text("[]"), "model_index.json holds no JSON object"),
        (lambda f: edit_json(f / "model_index.json", _class_name="WanPipeline"), "is of a 'WanPipeline'"),
        (lambda f: edit_json(f / "model_index.json", vae=None), "no valid entry for 'vae'"),
        (lambda f: edit_json(f / "model_index.json", vae=["os", "system"]), "no valid entry for 'vae'"),
        (lambda f: edit_json(f / "model_index.json", vae=["diffusers", "NoSuchClass"]), "cannot be loaded"),
        (lambda f: edit_json(f / "model_index.json", chunk_frames=6), "chunk_frames is 6"),
        (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer is missing"),
        (lambda f: (f / "vae" / "config.json").unlink(), "vae/config.json is missing"),
        (lambda f: (f / "text_encoder" / "config.json").write_text(""), "text_encoder/config.json cannot be read"),
        (lambda f: (f / "text_encoder_2" / "model.safetensors").unlink(), "text_encoder_2 holds no .safetensors"),
        (lambda f: cut(f / WEIGHTS, 0), f"{WEIGHTS} is no safetensors file or is cut off"),
        (lambda f: cut(f / WEIGHTS, 5000), f"{WEIGHTS} is cut off|{WEIGHTS} is no safetensors file"),
        (lambda f: cut(f / WEIGHTS, -4), f"{WEIGHTS} is cut off"),
        (lambda f: (f / WEIGHTS).write_text("version https://git-lfs"), f"{WEIGHTS} is no safetensors file"),
        (lambda f: (f / WEIGHTS).write_bytes(b"\x08" + b"\0" * 7 + b"{notjson" + b"\0" * 9), f"{WEIGHTS} is damaged"),
        (lambda f: edit_weights(f / WEIGHTS, lambda t: t.pop("proj_out.weight")), "proj_out.weight is missing"),
        (lambda f: edit_weights(f / WEIGHTS, lambda t: t.update(extra=torch.ones(1))), "extra is missing or unknown"),
        (lambda f: edit_weights(f / WEIGHTS, lambda t: t.update({"proj_out.bias": torch.ones(3)})), "cannot be loaded"),
        (lambda f: edit_json(f / "transformer" / "config.json", num_layers=2), "do not fit its config.json|cannot be"),
    ],
)
def test_damage_is_named(copied: Path, damage: Callable[[Path], object], named: str) -> None:
    damage(copied)
    with pytest.raises(CheckpointError, match=named) as caught:
        load_pipeline(copied)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_shard_is_named(copied: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copied / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model-00001-of-00002.safetensors is missing"):
        check_model_folder(copied)


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no model folder"):
        load_pipeline(tmp_path / "none")


def test_the_digest_is_of_contents_and_not_of_the_place(model_folder: Path, copied: Path) -> None:
    digest = model_digest(copied)
    assert digest == model_digest(model_folder)
    edit_weights(copied / WEIGHTS, lambda tensors: tensors["proj_out.bias"].add_(1))
    assert model_digest(copied) != digest


def test_on_the_cpu_matrices_are_stored_as_bfloat16_arithmetic_takes_them(model_folder: Path) -> None:
    pipe = load_pipeline(model_folder, dtype=torch.bfloat16)
    assert pipe.autocast_dtype == torch.bfloat16
    stored = {name: weights.dtype for name, weights in pipe.transformer.named_parameters()}
    assert stored["x_embedder.proj.weight"] == stored["proj_out.weight"] == torch.bfloat16
    assert {stored[name] for name in stored if "norm_q" in name} == {torch.float32}
    assert {stored[name] for name in stored if name.startswith("action_encoder")} == {torch.float32}  # as published
    exact = load_pipeline(model_folder, dtype=torch.float32)
    assert exact.autocast_dtype is None
    assert {weights.dtype for weights in exact.transformer.parameters()} == {torch.float32}


def test_it_makes_no_difference_to_bfloat16_arithmetic_that_matrices_are_stored_in_it(model_folder: Path) -> None:
    stored, exact = (load_pipeline(model_folder, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    quicken_gelu(exact.transformer, torch.bfloat16)
    exact.autocast_dtype = torch.bfloat16
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    first, second = (
        pipe(
            prompt="a village",
            image=picture,
            actions="w 5f",
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).frames[0]
        for pipe in (stored, exact)
    )
    torch.testing.assert_close(first, second, atol=2e-2, rtol=2e-2)
