"""Prompt encoding equals the published encoders on the recorded example, and treats every prompt alike."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer, CLIPTextModel, LlamaModel, PreTrainedTokenizerBase

from gamecraft.errors import InputError
from gamecraft.models.text import PromptEmbeds, PromptSettings, encode_prompt

GOLDENS = Path(__file__).parent / "goldens" / "text"
RECORD = json.loads((GOLDENS / "expected.json").read_text())
EXPECTED = load_file(GOLDENS / "expected.safetensors")
SETTINGS = PromptSettings(
    template=RECORD["template"],
    crop=RECORD["crop"],
    suffix=PromptSettings.published().suffix,
    max_length=RECORD["max_length"],
)


class Encoders(NamedTuple):
    tokenizer: PreTrainedTokenizerBase
    text_encoder: LlamaModel
    tokenizer_2: PreTrainedTokenizerBase
    text_encoder_2: CLIPTextModel

    def encode(self, prompts: str | Sequence[str], settings: PromptSettings = SETTINGS) -> PromptEmbeds:
        return encode_prompt(prompts, *self, settings, "cpu", torch.float32)


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    llava, clip = GOLDENS / "text_encoder_llava", GOLDENS / "text_encoder_clip"
    return Encoders(
        AutoTokenizer.from_pretrained(llava),
        LlamaModel.from_pretrained(
            llava,
            config=AutoConfig.from_pretrained(llava).text_config,
            key_mapping={r"^language_model\.model\.": ""},
            dtype=torch.float32,
        ).eval(),
        AutoTokenizer.from_pretrained(clip),
        CLIPTextModel.from_pretrained(clip).eval(),
    )


def test_parity_with_the_published_encoders(encoders: Encoders) -> None:
    embeds, mask, pooled = encoders.encode(RECORD["texts"])
    torch.testing.assert_close(embeds, EXPECTED["llm.hidden"], atol=2e-5, rtol=1e-4)
    assert torch.equal(mask, EXPECTED["llm.mask"])
    torch.testing.assert_close(pooled, EXPECTED["clip.pooled"], atol=2e-5, rtol=1e-4)


def test_published_settings() -> None:
    published = PromptSettings.published()
    assert (published.crop, published.max_length, published.hidden_state_skip_layer) == (95, 351, 2)
    assert published.wrap("PROMPT") == RECORD["published_example"]


def test_settings_survive_a_config_file() -> None:
    published = PromptSettings.published()
    assert PromptSettings(**json.loads(json.dumps(dataclasses.asdict(published)))) == published


def test_a_prompt_alone_equals_itself_in_a_batch(encoders: Encoders) -> None:
    alone = encoders.encode("a small village")
    together = encoders.encode(["", "a small village"])
    for one, both in zip(alone, together, strict=True):
        torch.testing.assert_close(one[0], both[1])


def test_states_do_not_depend_on_the_padding(encoders: Encoders) -> None:
    short = encoders.encode("a village", PromptSettings(max_length=16))
    long = encoders.encode("a village", PromptSettings(max_length=40))
    valid = int(short.mask.sum())
    assert valid == int(long.mask.sum()) < 16
    torch.testing.assert_close(short.embeds[:, :valid], long.embeds[:, :valid])


def test_skipped_layers_are_the_last_ones(encoders: Encoders) -> None:
    """Two layers skipped = the same states as of a model without them, before its final norm."""
    states = encoders.encode("a village", PromptSettings(hidden_state_skip_layer=2)).embeds
    captured = []
    handle = encoders.text_encoder.layers[-3].register_forward_hook(lambda _m, _i, output: captured.append(output))
    encoders.encode("a village", PromptSettings())
    handle.remove()
    assert torch.equal(states, captured[0])


def test_empty_and_overlong_prompts_have_valid_tokens_and_the_full_length(encoders: Encoders) -> None:
    for settings in (SETTINGS, PromptSettings(max_length=10)):
        embeds, mask, _ = encoders.encode(["", "x" * 500], settings)
        assert embeds.shape[:2] == mask.shape == (2, settings.max_length - settings.crop)
        assert mask.sum(1).tolist()[0] >= 1
        assert mask[1].all()


def test_dtype(encoders: Encoders) -> None:
    embeds, mask, pooled = encode_prompt("", *encoders, PromptSettings(), "cpu", torch.bfloat16)
    assert (embeds.dtype, mask.dtype, pooled.dtype) == (torch.bfloat16, torch.int64, torch.bfloat16)


def test_text_in_braces_is_only_text(encoders: Encoders) -> None:
    assert "a {village}" in SETTINGS.wrap("a {village}")


def test_bad_input_is_refused(encoders: Encoders) -> None:
    with pytest.raises(InputError, match="no prompt"):
        encoders.encode([])
    with pytest.raises(InputError, match="has one"):
        PromptSettings(template="no place for the prompt")
    with pytest.raises(InputError, match="max_length=48"):
        PromptSettings(crop=48)
