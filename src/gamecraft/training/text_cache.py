"""Captions as the transformer sees them in training: all of one length, each encoded once."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel, LlamaModel

from gamecraft.errors import CheckpointError
from gamecraft.models.text import PromptEmbeds, PromptSettings, encode_prompt

__all__ = ["TextCache", "prompt_settings"]


def prompt_settings(folder: str | Path) -> PromptSettings:
    """How the model in a folder feeds prompts to its text encoders; the defaults for a folder without an index."""
    index = Path(folder) / "model_index.json"
    if not index.is_file():
        return PromptSettings()
    try:
        return PromptSettings(**(json.loads(index.read_text(encoding="utf-8")).get("prompt_settings") or {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} does not say how prompts are fed to the text encoders: {error}") from error


class TextCache:
    """Encodes captions with the text encoders of a model folder and remembers the most recent `capacity` ones.

    A caption is encoded alone, so that its bits do not depend on the batch it is first met in, and padded to the full
    length, so that all batches have one shape; the mask says which tokens are its own.
    """

    def __init__(self, folder: str | Path, settings: PromptSettings, device: torch.device, capacity: int) -> None:
        """`folder` has text_encoder, tokenizer, text_encoder_2 and tokenizer_2; CheckpointError if it does not."""
        folder = Path(folder)
        for part in ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"):
            if not (folder / part).is_dir():
                raise CheckpointError(
                    f"{folder} has no {part}; expected a folder with both text encoders and tokenizers"
                )
        self._settings = settings
        self._device = device
        self._capacity = capacity
        self._tokenizers = [AutoTokenizer.from_pretrained(folder / part) for part in ("tokenizer", "tokenizer_2")]
        self._llama = LlamaModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval().to(device)
        self._clip = CLIPTextModel.from_pretrained(folder / "text_encoder_2", dtype=torch.float32).eval().to(device)
        self._known: OrderedDict[str, PromptEmbeds] = OrderedDict()

    @property
    def embed_dim(self) -> int:
        """Width D of the token embeddings."""
        return int(self._llama.config.hidden_size)

    @property
    def pooled_dim(self) -> int:
        """Width P of the pooled embedding."""
        return int(self._clip.config.hidden_size)

    def __call__(self, captions: Sequence[str]) -> PromptEmbeds:
        """Embeddings [B, L, D], mask [B, L] and pooled embeddings [B, P] of captions, float32."""
        found = [self._one(caption) for caption in captions]
        embeds, masks, pooled = (torch.cat(parts) for parts in zip(*found, strict=True))
        return PromptEmbeds(embeds, masks, pooled)

    def _one(self, caption: str) -> tuple[Tensor, Tensor, Tensor]:
        known = self._known.pop(caption, None)
        if known is None:
            known = encode_prompt(
                caption,
                self._tokenizers[0],
                self._llama,
                self._tokenizers[1],
                self._clip,
                self._settings,
                self._device,
                torch.float32,
            )
        self._known[caption] = known
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return known
