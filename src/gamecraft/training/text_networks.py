"""The small text encoders with their training losses."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from gamecraft.worlds.themes import THEMES

__all__ = ["TextNetworks", "tokenize"]

_INITIAL_TEMPERATURE = 0.1
_MAX_LOGIT_SCALE = 100.0


class TextNetworks(nn.Module):
    """Both encoders and what only training needs (a tied language head, a temperature, a theme classifier)."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, hidden: int, heads: int, layers: tuple[int, int]
    ) -> None:
        """`layers` of the language model and of CLIP, both `hidden` wide with `heads` heads."""
        super().__init__()
        ids = {
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
        self.language = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden,
                intermediate_size=8 * hidden // 3 // 8 * 8,
                num_hidden_layers=layers[0],
                num_attention_heads=heads,
                max_position_embeddings=max_length,
                tie_word_embeddings=True,
                use_cache=False,
                **ids,
            )
        )
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden,
                intermediate_size=4 * hidden,
                projection_dim=hidden,
                num_hidden_layers=layers[1],
                num_attention_heads=heads,
                max_position_embeddings=max_length,
                **ids,
            )
        )
        self.theme = nn.Linear(hidden, len(THEMES))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_INITIAL_TEMPERATURE)))

    def language_loss(self, tokens: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the next token, in nats, over the valid ones of [B, L] tokens."""
        logits = self.language(**tokens).logits[:, :-1]
        targets = tokens["input_ids"][:, 1:].masked_fill(tokens["attention_mask"][:, 1:] == 0, -100)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def embed(self, tokens: dict[str, Tensor]) -> Tensor:
        """CLIP's pooled states [B, hidden] of [B, L] tokens."""
        pooled: Tensor = self.clip(**tokens).pooler_output
        return pooled.float()

    def contrastive_loss(self, first: dict[str, Tensor], second: dict[str, Tensor], themes: Tensor) -> Tensor:
        """InfoNCE both ways between two wordings [B, L] of B worlds, plus the cross-entropy of their themes [B]."""
        a, b = self.embed(first), self.embed(second)
        scale = self.log_scale.exp().clamp(max=_MAX_LOGIT_SCALE)
        logits = scale * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
        own = torch.arange(len(logits))
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        return contrast + F.cross_entropy(self.theme(torch.cat([a, b])), themes.repeat(2))


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` [B, L], L the longest of the texts."""
    batch = tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}
