import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from gamecraft.apply_runtime import block_linears
from gamecraft.conversion.folder import RECORD, Progress, run_plan
from gamecraft.conversion.from_official import plan_from_official
from gamecraft.conversion.layout import CLIP_FOLDER, LLAVA_FOLDER, TRANSFORMER_FILES, VAE_FOLDER, Variant
from gamecraft.conversion.plan import Options
from gamecraft.conversion.to_official import plan_to_official
from gamecraft.conversion.vae import load_official_vae, read_official_vae
from gamecraft.errors import CheckpointError, InputError
from gamecraft.loading import load_pipeline
from gamecraft.models.text import PromptSettings, encode_prompt
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.runtime import Runtime
from parallel_worker import chunk
from published_folder import ROPE_AXES, published_transformer, write_published_folder
from transformer_cases import GOLDENS

Convert = Callable[..., Path]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published_folder(tmp_path_factory.mktemp("published") / "weights")


def convert(
    source: Path,
    dest: Path,
    options: Options | None = None,
    *,
    variant: Variant | None = None,
    progress: Progress = lambda done, total, file: None,
) -> Path:
    options = options or Options(max_shard_bytes=300_000)
    plan = plan_from_official(source, dest, options, variant=variant, rope_axes_dim=ROPE_AXES)
    run_plan(plan, dest, options, progress)
    return dest


class Call(NamedTuple):
    done: int
    total: int
    file: Path


CALLS: list[Call] = []


@pytest.fixture(scope="module")
def converted(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("converted") / "model"
    return convert(published, dest, progress=lambda *call: CALLS.append(Call(*call)))


def weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of all safetensors files, by path and name."""
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_a_published_folder_becomes_a_pipeline_with_the_same_weights(published: Path, converted: Path) -> None:
    pipe = GameCraftPipeline.from_pretrained(converted)
    file = published / TRANSFORMER_FILES["standard"]
    transformer = GameCraftTransformer3DModel.from_single_file(file, rope_axes_dim=ROPE_AXES)
    assert_same(pipe.transformer.state_dict(), transformer.state_dict())
    settings = {name: value for name, value in transformer.config.items() if not name.startswith("_")}
    assert {name: pipe.transformer.config[name] for name in settings} == json.loads(json.dumps(settings))
    assert_same(pipe.vae.state_dict(), load_official_vae(published / VAE_FOLDER).state_dict())
    assert pipe.prompt_settings == PromptSettings.published()
    assert pipe.scheduler.config.shift == 5.0
    wanted = {"chunk_frames": 33, "fps": 24, "height": 704, "width": 1216, "history_clips": 1}
    wanted |= {"num_inference_steps": 50, "guidance_scale": 2.0}
    assert {name: pipe.config[name] for name in wanted} == wanted


def test_the_generic_loader_of_diffusers_opens_it_too(converted: Path) -> None:
    loaded = DiffusionPipeline.from_pretrained(converted, trust_remote_code=True)
    assert (type(loaded), type(loaded.transformer)) == (GameCraftPipeline, GameCraftTransformer3DModel)


def test_the_converted_text_encoders_give_the_published_embeddings(converted: Path) -> None:
    record = json.loads((GOLDENS / "text" / "expected.json").read_text())
    expected = load_file(GOLDENS / "text" / "expected.safetensors")
    pipe = GameCraftPipeline.from_pretrained(converted)
    settings = PromptSettings(
        template=record["template"],
        crop=record["crop"],
        suffix=PromptSettings.published().suffix,
        max_length=record["max_length"],
    )
    encoders = (pipe.tokenizer, pipe.text_encoder, pipe.tokenizer_2, pipe.text_encoder_2)
    embeds, mask, pooled = encode_prompt(record["texts"], *encoders, settings, "cpu", torch.float32)
    torch.testing.assert_close(embeds, expected["llm.hidden"], atol=2e-5, rtol=1e-4)
    assert torch.equal(mask, expected["llm.mask"])
    torch.testing.assert_close(pooled, expected["clip.pooled"], atol=2e-5, rtol=1e-4)


def test_a_converted_pipeline_generates(converted: Path) -> None:
    pipe = GameCraftPipeline.from_pretrained(converted)
    picture = np.zeros((16, 32, 3), np.uint8)
    output = pipe(actions="w 33f", image=picture, height=16, width=32, num_inference_steps=1, guidance_scale=1.0)
    assert output.frames[0].shape == (33, 16, 32, 3)


def test_there_and_back_gives_the_same_tensors(published: Path, converted: Path, tmp_path: Path) -> None:
    options = Options(max_shard_bytes=100_000)
    run_plan(plan_to_official(converted, tmp_path / "back", options), tmp_path / "back", options)
    file = TRANSFORMER_FILES["standard"]
    assert_same(torch.load(tmp_path / "back" / file, weights_only=True)["module"], published_transformer())
    found, expected = (read_official_vae(folder / VAE_FOLDER)[1] for folder in (tmp_path / "back", published))
    assert_same(found, expected)
    again = convert(tmp_path / "back", tmp_path / "again")
    assert_same(weights(again), weights(converted))
    for config in ("transformer/config.json", "vae/config.json", "model_index.json"):
        assert (again / config).read_text() == (converted / config).read_text()


def test_what_llava_has_beside_its_language_model_is_not_written_back(converted: Path, tmp_path: Path) -> None:
    options = Options()
    run_plan(plan_to_official(converted, tmp_path / "back", options), tmp_path / "back", options)
    names = load_file(tmp_path / "back" / LLAVA_FOLDER / "model.safetensors").keys()
    assert all(name.startswith("language_model.model.") for name in names)


def test_the_distilled_transformer_brings_its_own_settings(published: Path, tmp_path: Path) -> None:
    folder = convert(published, tmp_path / "model", variant="distilled")
    index = json.loads((folder / "model_index.json").read_text())
    assert (index["num_inference_steps"], index["guidance_scale"]) == (8, 1.0)
    assert not any(tensor.any() for name, tensor in weights(folder).items() if name.startswith("transformer/"))


def test_a_type_is_given_to_all_weights_but_the_action_encoder(published: Path, tmp_path: Path) -> None:
    folder = convert(published, tmp_path / "model", Options(dtype=torch.bfloat16))
    for name, tensor in weights(folder).items():
        expected = torch.float32 if name.startswith("transformer/action_encoder") else torch.bfloat16
        assert tensor.dtype == expected, name
    assert json.loads((folder / "text_encoder" / "config.json").read_text())["dtype"] == "bfloat16"


def test_block_matrices_can_be_stored_in_one_byte(published: Path, converted: Path, tmp_path: Path) -> None:
    folder = convert(published, tmp_path / "model", Options(fp8=True))
    small, large = weights(folder), weights(converted)
    transformer = GameCraftPipeline.from_pretrained(converted).transformer
    linears = {f"transformer/{name}.weight" for name in block_linears(transformer)}
    assert {name for name, tensor in small.items() if tensor.dtype == torch.float8_e4m3fn} == linears
    for name, tensor in small.items():
        assert torch.equal(tensor.float(), large[name].to(tensor.dtype).float())
    pipe = load_pipeline(folder, dtype=torch.float32)
    cast = load_pipeline(converted, runtime=Runtime(device="cpu", dtype="fp32", weights="fp8"))
    # the last bits of products depend, on some processors, on where in memory their factors lie
    torch.testing.assert_close(chunk(pipe), chunk(cast), atol=1e-5, rtol=1e-5)


def test_progress_counts_every_byte_once(converted: Path) -> None:
    size = sum(tensor.nbytes for tensor in weights(converted).values())
    assert {call.total for call in CALLS} == {size}
    assert (CALLS[0].done, CALLS[-1].done) == (0, size)
    assert [call.done for call in CALLS] == sorted(call.done for call in CALLS)


def test_an_interrupted_conversion_continues_without_writing_a_file_twice(
    published: Path, converted: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "model"

    def stop(done: int, total: int, file: Path) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(published, dest, progress=stop)
    finished = {file: file.stat().st_mtime_ns for file in dest.rglob("*.safetensors")}
    assert finished
    assert not (dest / "model_index.json").exists()
    damaged, *kept = finished
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (damaged.parent / f".{damaged.name}.1.tmp").write_bytes(b"left by a killed process")
    convert(published, dest)
    assert {file: file.stat().st_mtime_ns for file in kept} == {file: finished[file] for file in kept}
    assert_same(weights(dest), weights(converted))
    assert {f.relative_to(dest) for f in dest.rglob("*")} == {f.relative_to(converted) for f in converted.rglob("*")}


def test_a_destination_of_another_conversion_is_refused(published: Path, converted: Path, tmp_path: Path) -> None:
    dest = shutil.copytree(converted, tmp_path / "model")
    with pytest.raises(CheckpointError, match="holds another conversion, different in dtype"):
        convert(published, dest, Options(dtype=torch.float16, max_shard_bytes=300_000))
    with pytest.raises(CheckpointError, match="different in sources, variant"):
        convert(published, dest, variant="distilled")
    (dest / RECORD).unlink()
    with pytest.raises(CheckpointError, match="not a conversion begun before"):
        convert(published, dest)


def test_too_little_room_is_said_before_anything_is_written(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=60_000_000))
    with pytest.raises(InputError, match=r"0\.1 GB will be written, but only 0\.1 GB are free"):
        convert(published, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_missing_parts_are_named(published: Path, tmp_path: Path) -> None:
    partly = tmp_path / "weights"
    shutil.copytree(published / VAE_FOLDER, partly / VAE_FOLDER)
    missing = ", ".join((TRANSFORMER_FILES["standard"], LLAVA_FOLDER, CLIP_FOLDER))
    with pytest.raises(CheckpointError, match=f"missing: {missing}"):
        convert(partly, tmp_path / "model")


def test_parts_that_do_not_belong_together_are_refused(published: Path, tmp_path: Path) -> None:
    mixed = shutil.copytree(published, tmp_path / "weights")
    tensors = published_transformer() | {"vector_in.in_layer.weight": torch.zeros(32, 7)}
    torch.save({"module": tensors}, mixed / TRANSFORMER_FILES["standard"])
    with pytest.raises(CheckpointError, match="pooled_projection_dim is 7, but CLIP's width 24"):
        convert(mixed, tmp_path / "model")


def test_an_embedded_model_has_no_published_form(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="AutoencoderPatchCode'; only AutoencoderKLHunyuanVideo has a published"):
        plan_to_official(model_folder, tmp_path / "back", Options())
