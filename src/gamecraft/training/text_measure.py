"""How well trained text encoders do on captions of held-out worlds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from gamecraft.training.text_data import CaptionPair
from gamecraft.training.text_networks import TextNetworks, tokenize

__all__ = ["RETRIEVAL_CHOICES", "TextReport", "measure"]

RETRIEVAL_CHOICES = 64


@dataclass(frozen=True, kw_only=True)
class TextReport:
    """Measures on captions of held-out worlds."""

    short_retrieval: float
    """Share of short captions whose own world's long caption is the nearest of `RETRIEVAL_CHOICES`. A short caption
    leaves out most facts, so that worlds tie and 1 cannot be reached."""
    long_retrieval: float
    """The same from an independently worded long caption."""
    theme_agreement: float
    """Share of short captions whose nearest long caption has the same theme."""
    perplexity: float
    """Of the language model, per token of short and long captions."""


@torch.no_grad()
def measure(
    networks: TextNetworks, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[CaptionPair], max_length: int
) -> TextReport:
    """Measure on pairs of held-out worlds, whose number is rounded down to whole groups of `RETRIEVAL_CHOICES`."""
    groups = [
        pairs[start : start + RETRIEVAL_CHOICES]
        for start in range(0, len(pairs) - RETRIEVAL_CHOICES + 1, RETRIEVAL_CHOICES)
    ]
    short_hits, long_hits, themes, losses = [], [], [], []
    own = torch.arange(RETRIEVAL_CHOICES)
    for group in groups:
        inputs = {
            name: tokenize(tokenizer, [getattr(pair, name) for pair in group], max_length)
            for name in ("short", "long", "other_long")
        }
        short, long, other = (F.normalize(networks.embed(tokens), dim=-1) for tokens in inputs.values())
        theme = torch.tensor([pair.theme for pair in group])
        nearest = (short @ other.T).argmax(dim=-1)
        short_hits.append((nearest == own).float().mean())
        long_hits.append(((long @ other.T).argmax(dim=-1) == own).float().mean())
        themes.append((theme[nearest] == theme).float().mean())
        valid = [int(inputs[name]["attention_mask"][:, 1:].sum()) for name in ("short", "long")]
        total = sum(
            count * networks.language_loss(inputs[name]) for name, count in zip(("short", "long"), valid, strict=True)
        )
        losses.append(torch.as_tensor(total) / sum(valid))
    return TextReport(
        short_retrieval=float(torch.stack(short_hits).mean()),
        long_retrieval=float(torch.stack(long_hits).mean()),
        theme_agreement=float(torch.stack(themes).mean()),
        perplexity=math.exp(float(torch.stack(losses).mean())),
    )
