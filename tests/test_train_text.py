"""Training the text encoders: deterministic, resumable, and its output loads as the encoders of a pipeline."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextModel, LlamaModel

from gamecraft.errors import CheckpointError, InputError
from gamecraft.models.text import PromptSettings, encode_prompt
from gamecraft.training import text
from gamecraft.training.config import build_config, load_recipe
from gamecraft.training.run import RunFolder
from gamecraft.training.text import TextTraining, train_text
from gamecraft.training.text_data import caption_pair, caption_pairs, describe_worlds
from gamecraft.training.text_measure import TextReport
from gamecraft.training.text_tokenizer import train_tokenizer
from gamecraft.worlds.themes import THEMES, TIMES, WEATHERS

RECIPE = Path(__file__).parents[1] / "recipes" / "mini_text.yaml"


def light_descriptions(seeds: Iterable[int]) -> list[dict[str, str]]:
    """Varied descriptions without building the worlds."""
    themes, times, weathers = list(THEMES), list(TIMES), list(WEATHERS)
    return [
        {
            "theme": themes[seed % 12],
            "time": times[seed % 4],
            "weather": weathers[seed // 4 % 4],
            "palette": ("warm", "cool", "vivid")[seed % 3],
            "ground": THEMES[themes[seed % 12]].ground_name,
            "features": ", ".join(THEMES[themes[seed % 12]].props),
        }
        for seed in seeds
    ]


@pytest.fixture(autouse=True)
def _fast_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "describe_worlds", light_descriptions)


def tiny(folder: Path) -> TextTraining:
    return TextTraining(
        run=str(folder / "run"),
        output=str(folder / "model"),
        worlds=50,
        measured_worlds=64,
        steps=6,
        language_batch=4,
        contrastive_batch=8,
        warmup_steps=2,
        tokenizer_pairs=50,
        vocabulary=400,
        hidden=16,
        heads=2,
        language_layers=3,
        clip_layers=1,
        log_every=2,
        checkpoint_every=2,
    )


def weights(config: TextTraining) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": value
        for part in ("text_encoder", "text_encoder_2")
        for name, value in load_file(Path(config.output) / part / "model.safetensors").items()
    }


def test_output_is_measured_and_loads_as_the_encoders_of_a_pipeline(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    report = train_text(config)
    assert isinstance(report, TextReport)
    assert all(0 <= share <= 1 for share in (report.short_retrieval, report.long_retrieval, report.theme_agreement))
    assert report.perplexity > 1
    model = Path(config.output)
    tokenizer, tokenizer_2 = (AutoTokenizer.from_pretrained(model / name) for name in ("tokenizer", "tokenizer_2"))
    llama, llama_info = LlamaModel.from_pretrained(model / "text_encoder", output_loading_info=True)
    clip, clip_info = CLIPTextModel.from_pretrained(model / "text_encoder_2", output_loading_info=True)
    for info in (llama_info, clip_info):
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
    assert llama.dtype == clip.dtype == torch.float16
    prompts = ["", "A foggy village, ünseen wörds & 7 dragons"]
    embeds, mask, pooled = encode_prompt(
        prompts, tokenizer, llama.float(), tokenizer_2, clip.float(), PromptSettings(), "cpu", torch.float32
    )
    assert embeds.shape == (2, 48, 16)
    assert pooled.shape == (2, 16)
    assert mask[0].sum() == 1
    assert embeds.isfinite().all()


def test_equal_configurations_give_equal_weights(tmp_path: Path) -> None:
    first, second = tiny(tmp_path / "a"), tiny(tmp_path / "b")
    assert train_text(first) == train_text(second)
    a, b = weights(first), weights(second)
    assert all(torch.equal(a[name], b[name]) for name in a)
    other = dataclasses.replace(tiny(tmp_path / "c"), seed=1)
    train_text(other)
    assert not torch.equal(a["text_encoder.norm.weight"], weights(other)["text_encoder.norm.weight"])


def test_a_killed_run_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = tiny(tmp_path / "whole"), tiny(tmp_path / "killed")
    report = train_text(whole)
    update, calls = text._update, []

    def dying_update(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise SystemExit
        update(*arguments)

    monkeypatch.setattr(text, "_update", dying_update)
    with pytest.raises(SystemExit):
        train_text(killed)
    monkeypatch.setattr(text, "_update", update)
    assert train_text(killed) == report
    a, b = weights(whole), weights(killed)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert RunFolder(whole.run).records() == RunFolder(killed.run).records()


def test_a_run_folder_belongs_to_one_configuration(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    train_text(config)
    with pytest.raises(CheckpointError, match="another configuration"):
        train_text(dataclasses.replace(config, learning_rate=1e-4))


def test_both_losses_fall(tmp_path: Path) -> None:
    config = dataclasses.replace(tiny(tmp_path), steps=80, log_every=1, learning_rate=2e-2)
    train_text(config)
    records = [record for record in RunFolder(config.run).records() if "language" in record]
    for loss in ("language", "contrastive"):  # of a few captions each, so that only means tell
        values = [record[loss] for record in records]
        assert np.mean(values[-20:]) < 0.9 * np.mean(values[:5])


def test_recipe_is_a_configuration() -> None:
    task, values = load_recipe(RECIPE)
    config = build_config(TextTraining, values)
    assert task == "text"
    assert config.max_length == PromptSettings().max_length
    with pytest.raises(InputError, match="measured_worlds"):
        dataclasses.replace(config, measured_worlds=10)


def test_tokenizer_wraps_text_for_clip_and_keeps_any_text() -> None:
    tokenizer = train_tokenizer(["a village at dusk", "a foggy forest"] * 5, 300, 48)
    ids = tokenizer("A Village, 漢字 {x}").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id != 2  # 2 means something else to CLIPTextModel
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "a village, 漢字 {x}"


def test_captions_to_train_on_are_those_of_the_worlds() -> None:
    description = describe_worlds([3])[0]
    pair = caption_pair(description, 0)
    assert list(THEMES)[pair.theme] == description["theme"]
    assert description["ground"] in pair.long
    assert pair.long != pair.other_long
    worlds = light_descriptions(range(20))
    assert list(caption_pairs(worlds, 5, 1)) == list(caption_pairs(worlds, 5, 1)) != list(caption_pairs(worlds, 5, 2))
