import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextModel, LlamaModel, LlavaForConditionalGeneration

from gamecraft.conversion.text import CLIP, LLAVA, TextTower, copy_tokenizer, llava_config, published_text_config
from gamecraft.errors import CheckpointError
from transformer_cases import GOLDENS

LLAVA_FOLDER = GOLDENS / "text" / "text_encoder_llava"
CLIP_FOLDER = GOLDENS / "text" / "text_encoder_clip"


def text_model(tower: TextTower, folder: Path, tensors: dict[str, Tensor], target: Path) -> LlamaModel | CLIPTextModel:
    """Convert in memory, load strictly."""
    config = tower.read_config(folder)
    names = tower.names_from_official(config, tensors)
    model = tower.model_class(config).eval()
    model.load_state_dict({new.removeprefix(tower.prefix): tensors[old] for old, new in names.items()}, strict=True)
    return model


def newer_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The layout that newer versions of transformers keep in memory and wrote for a while."""
    return {
        "lm_head.weight" if "lm_head" in name
        else name.replace("language_model.model.", "model.language_model.") if name.startswith("language_model")
        else f"model.{name}": tensor
        for name, tensor in tensors.items()
    }  # fmt: skip


@pytest.mark.parametrize("renamed", [False, True])
def test_the_language_model_of_llava_is_found_in_old_and_new_layouts(tmp_path: Path, renamed: bool) -> None:
    tensors = load_file(LLAVA_FOLDER / "model.safetensors")
    model = text_model(LLAVA, LLAVA_FOLDER, newer_names(tensors) if renamed else tensors, tmp_path)
    whole = LlavaForConditionalGeneration.from_pretrained(LLAVA_FOLDER).eval()
    tokens = torch.tensor([[256, 4, 8, 15]])
    with torch.no_grad():
        found = model(tokens, output_hidden_states=True).hidden_states
        expected = whole(tokens, output_hidden_states=True).hidden_states
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_text_model_is_found_in_a_whole_clip(tmp_path: Path) -> None:
    text = CLIP.read_config(CLIP_FOLDER)
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    whole = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision | {"image_size": 8, "patch_size": 4}))
    whole.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]  # older versions wrote it
    model = text_model(CLIP, tmp_path, tensors, tmp_path)
    tokens = torch.tensor([[0, 5, 6, 2]])
    assert torch.equal(model(tokens).pooler_output, whole.eval().text_model(tokens).pooler_output)


@pytest.mark.parametrize(("tower", "folder"), [(LLAVA, LLAVA_FOLDER), (CLIP, CLIP_FOLDER)])
def test_there_and_back_gives_the_same_names(tower: TextTower, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    config = tower.read_config(folder)
    there = tower.names_from_official(config, tensors)
    back = tower.names_to_official(config, {new: tensors[old] for old, new in there.items()})
    assert {new: old for old, new in there.items()} == back


def test_missing_and_unexpected_tensors_are_named() -> None:
    tensors = load_file(LLAVA_FOLDER / "model.safetensors")
    tensors["language_model.model.norm.wheight"] = tensors.pop("language_model.model.norm.weight")
    with pytest.raises(CheckpointError, match=r"1 missing: norm\.weight; 1 unexpected: norm\.wheight"):
        LLAVA.names_from_official(LLAVA.read_config(LLAVA_FOLDER), tensors)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a text model of type llama, got clip_text_model"):
        LLAVA.read_config(CLIP_FOLDER)
    with pytest.raises(CheckpointError, match=r"config\.json: not a readable JSON file") as error:
        LLAVA.read_config(tmp_path)
    assert "\n" not in str(error.value)


def test_the_published_code_reads_the_configuration_written_back() -> None:
    """transformers 4.54 knows rope_theta and torch_dtype, newer versions rope_parameters and dtype."""
    config = LLAVA.read_config(LLAVA_FOLDER)
    config.dtype = torch.float16
    written = llava_config(published_text_config(config), LLAVA_FOLDER)
    assert written["image_token_index"] == 261
    assert written["torch_dtype"] == written["text_config"]["torch_dtype"] == "float16"
    assert written["text_config"]["rope_theta"] == 500000.0
    assert "_name_or_path" not in written["text_config"]


def test_a_tokenizer_is_copied(tmp_path: Path) -> None:
    for folder in (LLAVA_FOLDER, CLIP_FOLDER):
        copy_tokenizer(folder, tmp_path / folder.name)
        found, expected = (AutoTokenizer.from_pretrained(f) for f in (tmp_path / folder.name, folder))
        assert found("A village.").input_ids == expected("A village.").input_ids
        assert not list((tmp_path / folder.name).glob("*.safetensors"))


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    shutil.copy(CLIP_FOLDER / "tokenizer_config.json", tmp_path)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        copy_tokenizer(tmp_path, tmp_path / "copy")


def test_the_names_on_disk_are_those_of_save_pretrained(tmp_path: Path) -> None:
    CLIPTextModel.from_pretrained(CLIP_FOLDER).save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        written = set(file.keys())
    tensors = load_file(CLIP_FOLDER / "model.safetensors")
    assert set(CLIP.names_from_official(CLIP.read_config(CLIP_FOLDER), tensors).values()) == written
