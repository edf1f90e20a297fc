"""Prompts to embeddings, by one path for every model size.

A LLaMA language model gives the token states the transformer attends to, a CLIP text model gives one pooled
vector. The 13B model uses the text tower of LLaVA-LLaMA-3-8B and CLIP-L, the embedded model small networks of
the same classes; only `PromptSettings` differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from transformers import CLIPTextModel, LlamaModel, PreTrainedTokenizerBase

from gamecraft.errors import InputError

__all__ = ["PromptEmbeds", "PromptSettings", "encode_prompt"]


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """How a prompt becomes the language model's input and which of its states are used.

    The defaults feed the prompt alone; `published` are the settings of the 13B model.
    """

    template: str = ""
    """Text with one ``{}`` for the prompt; empty = the prompt alone."""
    crop: int = 0
    """Leading tokens (the beginning-of-sequence token and the template's head) whose states are dropped."""
    suffix: str = ""
    """Text after the filled template."""
    max_length: int = 48
    """Tokens fed to the language model, padded or truncated on the right; `max_length - crop` states remain."""
    hidden_state_skip_layer: int = 2
    """Last layers left out: the states are the output of layer `num_hidden_layers - hidden_state_skip_layer`."""

    def __post_init__(self) -> None:
        if self.template and self.template.count("{}") != 1:
            raise InputError(f"a prompt template has one {{}} for the prompt or is empty, received {self.template!r}")
        if not 0 <= self.crop < self.max_length:
            raise InputError(f"crop must be at least 0 and below max_length={self.max_length}, received {self.crop}")
        if self.hidden_state_skip_layer < 0:
            raise InputError(f"hidden_state_skip_layer must not be negative, received {self.hidden_state_skip_layer}")

    @classmethod
    def published(cls) -> Self:
        """The 13B model's: HunyuanVideo's video template, GameCraft's suffix, 256 tokens after the crop."""
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

        crop: int = DEFAULT_PROMPT_TEMPLATE["crop_start"]
        return cls(
            template=DEFAULT_PROMPT_TEMPLATE["template"],
            crop=crop,
            suffix="\nThe person looks like<image>",
            max_length=256 + crop,
        )

    def wrap(self, prompt: str) -> str:
        """The whole text for the language model, without its beginning-of-sequence token."""
        return (self.template.replace("{}", prompt) if self.template else prompt) + self.suffix


class PromptEmbeds(NamedTuple):
    """What the transformer needs of B prompts."""

    embeds: Tensor
    """[B, L, D] states of the language model."""
    mask: Tensor
    """[B, L] int64, 1 for valid tokens; padding is on the right and at least one token is valid."""
    pooled: Tensor
    """[B, P] CLIP's pooled state."""


@torch.no_grad()
def encode_prompt(
    prompts: str | Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    text_encoder: LlamaModel,
    tokenizer_2: PreTrainedTokenizerBase,
    text_encoder_2: CLIPTextModel,
    settings: PromptSettings,
    device: torch.device | str,
    dtype: torch.dtype,
) -> PromptEmbeds:
    """Encode prompts. A playthrough calls this once per prompt and keeps the result for all its chunks.

    Parameters
    ----------
    prompts : str or sequence of str
        B prompts; an empty one is allowed and still has valid tokens.
    tokenizer, text_encoder
        Of the language model.
    tokenizer_2, text_encoder_2
        Of CLIP; its number of positions is the token limit (77 for CLIP-L).
    device, dtype
        Where the encoders live, and the dtype of the result.

    Returns
    -------
    PromptEmbeds
        ``L = settings.max_length - settings.crop``, D and P the encoders' hidden sizes.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise InputError("received no prompt; give at least one, which may be the empty string")
    embeds, mask = _language_states(texts, tokenizer, text_encoder, settings, device)
    pooled = _pooled_state(texts, tokenizer_2, text_encoder_2, device)
    return PromptEmbeds(embeds.to(dtype), mask, pooled.to(dtype))


def _language_states(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    model: LlamaModel,
    settings: PromptSettings,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    # Whether a loaded tokenizer prepends the beginning-of-sequence token by itself depends on its class and on the
    # version of transformers; writing it out gives the published tokens with all of them.
    start = tokenizer.bos_token or ""
    tokens = _tokenize(
        tokenizer,
        [start + settings.wrap(text) for text in texts],
        settings.max_length,
        device,
        add_special_tokens=False,
    )
    states = model(**tokens, output_hidden_states=True, use_cache=False).hidden_states
    layer = states[-(settings.hidden_state_skip_layer + 1)]
    return layer[:, settings.crop :], tokens["attention_mask"][:, settings.crop :]


def _pooled_state(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, model: CLIPTextModel, device: torch.device | str
) -> Tensor:
    tokens = _tokenize(tokenizer, texts, model.config.max_position_embeddings, device, add_special_tokens=True)
    pooled: Tensor = model(**tokens).pooler_output
    return pooled


def _tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    device: torch.device | str,
    *,
    add_special_tokens: bool,
) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask`, int64 [B, max_length], padded and truncated on the right."""
    batch: Any = tokenizer(
        list(texts),
        max_length=max_length,
        padding="max_length",
        padding_side="right",
        truncation=True,
        add_special_tokens=add_special_tokens,
        return_tensors="pt",
    )
    return {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
