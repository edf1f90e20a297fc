"""Damaged parts of a published or a converted folder are refused in one sentence, before anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gamecraft.conversion.folder import run_plan
from gamecraft.conversion.from_official import plan_from_official
from gamecraft.conversion.in_memory import load_published
from gamecraft.conversion.layout import CLIP_FOLDER, LLAVA_FOLDER, TRANSFORMER_FILES, VAE_FOLDER, PublishedFolder
from gamecraft.conversion.plan import Options
from gamecraft.conversion.to_official import plan_to_official
from gamecraft.errors import CheckpointError
from gamecraft.torch_files import load_torch_file
from published_folder import ROPE_AXES, write_published_folder

Damage = Callable[[Path], object]

TRANSFORMER = TRANSFORMER_FILES["standard"]
VAE = f"{VAE_FOLDER}/pytorch_model.pt"
TEXT, TEXT_2 = f"{LLAVA_FOLDER}/model.safetensors", f"{CLIP_FOLDER}/model.safetensors"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published_folder(tmp_path_factory.mktemp("published") / "weights")


@pytest.fixture(scope="module")
def converted(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest, options = tmp_path_factory.mktemp("converted") / "model", Options()
    run_plan(plan_from_official(published, dest, options, rope_axes_dim=ROPE_AXES), dest, options)
    return dest


def planned(folder: Path) -> None:
    plan_from_official(folder, folder / "out", Options(), rope_axes_dim=ROPE_AXES)


def in_memory(folder: Path) -> None:
    load_published(PublishedFolder.find(folder), rope_axes_dim=ROPE_AXES)


def back(folder: Path) -> None:
    plan_to_official(folder, folder / "out", Options())


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def page(file: Path) -> None:
    """What a download that failed leaves."""
    file.write_text("<!DOCTYPE html><html><body>404</body></html>\n")


def instead(content: object) -> Damage:
    return lambda file: torch.save(content, file)


def settings(**changes: object) -> Damage:
    return lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Damage:
    """Change the tensors of any of the files."""

    def damage(file: Path) -> None:
        if file.suffix == ".safetensors":
            named = load_file(file)
            change(named)
            save_file(named, file, {"format": "pt"})
            return
        content: Any = load_torch_file(file)
        whole = {entry: {name: each.clone() for name, each in named.items()} for entry, named in content.items()}
        change(next(iter(whole.values())))
        torch.save(whole, file)

    return damage


def retyped(name: str, dtype: torch.dtype) -> Damage:
    return tensors(lambda named: named.update({name: named[name].to(dtype)}))


NORM, CLIP_BIAS = "language_model.model.norm.weight", "text_model.final_layer_norm.bias"
DAMAGES: list[tuple[str, Damage, str]] = [
    (VAE, half, "truncated, damaged or of another kind"),
    (VAE, page, "truncated, damaged or of another kind"),
    (VAE, Path.unlink, "no such file"),
    (VAE, instead(torch.ones(2)), "expected named tensors, found Tensor"),
    (VAE, instead({"state_dict": {1: torch.ones(2)}}), "1 of what it holds are no named tensors: 1"),
    (VAE, instead({"state_dict": {"a": {"b": torch.ones(2)}}}), "1 of what it holds are no named tensors: a"),
    (VAE, instead({"state_dict": {"a": torch.ones(2)}}), "expected 244 tensors, received 0; 244 missing"),
    (VAE, tensors(lambda named: named.pop("vae.quant_conv.bias")), "1 missing: quant_conv.bias"),
    (VAE, tensors(lambda named: named.update({"vae.quant_conv.bias": torch.ones(3)})), "quant_conv.bias [3] instead"),
    (VAE, retyped("vae.quant_conv.bias", torch.int32), "1 of a type that weights do not have: quant_conv.bias torch.i"),
    (TRANSFORMER, retyped("img_in.proj.bias", torch.bool), "do not have: img_in.proj.bias torch.bool"),
    (TRANSFORMER, retyped("img_in.proj.bias", torch.complex64), "do not have: img_in.proj.bias torch.complex64"),
    (TEXT, half, "truncated, damaged or not a safetensors file"),
    (TEXT, page, "truncated, damaged or not a safetensors file"),
    (TEXT, Path.unlink, "expected model.safetensors, model.safetensors.index.json with its shards"),
    (TEXT, tensors(lambda named: named.pop(NORM)), "1 missing: norm.weight"),
    (TEXT, tensors(lambda named: named.update({NORM: torch.ones(3)})), "norm.weight [3] instead of [32]"),
    (TEXT, retyped(NORM, torch.int64), "do not have: norm.weight torch.int64"),
    (TEXT_2, half, "truncated, damaged or not a safetensors file"),
    (TEXT_2, tensors(lambda named: named.pop(CLIP_BIAS)), f"1 missing: {CLIP_BIAS}"),
    (f"{VAE_FOLDER}/config.json", half, "config.json: not a readable JSON file"),
    (f"{VAE_FOLDER}/config.json", lambda file: file.write_text("null"), "expected a JSON object, found NoneType"),
    (f"{VAE_FOLDER}/config.json", settings(scaling_factor=None), "scaling_factor is None; expected a number above 0"),
    (f"{VAE_FOLDER}/config.json", settings(block_out_channels=8), "block_out_channels is 8; expected whole numbers"),
    (
        f"{VAE_FOLDER}/config.json",
        settings(block_out_channels=["x", 16, 16, 16]),
        "settings that belong to no model of this kind",
    ),
    (f"{VAE_FOLDER}/config.json", settings(layers_per_block="x"), "settings that belong to no model of this kind"),
    (f"{VAE_FOLDER}/config.json", settings(up_block_types=3), "up_block_types is 3; expected only"),
    (f"{LLAVA_FOLDER}/config.json", half, "config.json: not a readable JSON file"),
    (f"{LLAVA_FOLDER}/config.json", lambda file: file.write_text("null"), "expected a JSON object, found NoneType"),
    (f"{LLAVA_FOLDER}/config.json", settings(text_config=3), "no readable config.json of a text encoder"),
    (f"{LLAVA_FOLDER}/tokenizer.json", half, "its tokenizer cannot be read"),
    (f"{CLIP_FOLDER}/config.json", settings(model_type="llama"), "expected a text model of type clip_text_model"),
    (f"{CLIP_FOLDER}/vocab.json", half, "its tokenizer cannot be read"),
]


def names(values: object) -> str:
    return Path(values).name if isinstance(values, str) and "/" in values else ""


@pytest.mark.parametrize("load", [planned, in_memory])
@pytest.mark.parametrize(("file", "damage", "message"), DAMAGES, ids=names)
def test_published_weights(
    published: Path, tmp_path: Path, load: Callable[[Path], None], file: str, damage: Damage, message: str
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "weights"))
    damage(folder / file)
    refused(load, folder, message)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("transformer/config.json", lambda file: file.write_text("[]"), "expected a JSON object, found list"),
        ("transformer/config.json", settings(num_layers="x"), "settings that belong to no model of this kind"),
        ("transformer/config.json", settings(num_layers=2), "missing: transformer_blocks.1."),
        ("vae/config.json", settings(layers_per_block=None), "settings that belong to no model of this kind"),
        ("vae/diffusion_pytorch_model.safetensors", half, "truncated, damaged or not a safetensors file"),
        ("text_encoder/config.json", settings(hidden_size="x"), "text_encoder"),
        ("text_encoder_2/model.safetensors", retyped(CLIP_BIAS, torch.int8), f"do not have: {CLIP_BIAS} torch.int8"),
        ("tokenizer_2/merges.txt", lambda file: file.write_bytes(b"\xff" * 9), "its tokenizer cannot be read"),
    ],
    ids=names,
)
def test_weights_on_their_way_back(converted: Path, tmp_path: Path, file: str, damage: Damage, message: str) -> None:
    folder = Path(shutil.copytree(converted, tmp_path / "model"))
    damage(folder / file)
    refused(back, folder, message)


def refused(load: Callable[[Path], None], folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load(folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (folder / "out").exists()


def test_what_a_configuration_leaves_out_has_its_default(converted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(converted, tmp_path / "model"))
    file = folder / "vae" / "config.json"
    file.write_text(
        json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != "act_fn"})
    )
    back(folder)
