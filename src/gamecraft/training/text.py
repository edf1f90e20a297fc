"""Trains the embedded model's text encoders from captions: tokenizer, language model and CLIP, in minutes on a CPU."""

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from gamecraft.errors import InputError
from gamecraft.training.run import RunFolder, StopSignal
from gamecraft.training.text_data import HELD_OUT_WORLDS, WORLDS, caption_pair, caption_pairs
from gamecraft.training.text_measure import RETRIEVAL_CHOICES, TextReport, measure
from gamecraft.training.text_networks import TextNetworks, tokenize
from gamecraft.training.text_tokenizer import train_tokenizer

__all__ = ["TextConfig", "train_text"]

logger = logging.getLogger(__name__)

_TOKENIZER_SEED = -1
"""In place of a step number where the tokenizer's captions are drawn."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """A training of both text encoders; `recipes/mini_text.yaml` has the embedded model's."""

    run: str
    """Folder for checkpoints and log; an interrupted training resumes from it."""
    output: str
    """Model folder; gets `text_encoder`, `text_encoder_2`, `tokenizer` and `tokenizer_2`."""
    seed: int = 0
    steps: int = 600
    language_batch: int = 64
    """Captions a step of the language model."""
    contrastive_batch: int = 128
    """Worlds a step of CLIP, each with two captions."""
    learning_rate: float = 2e-3
    """Its peak, after `warmup_steps`; falls to zero as a cosine."""
    warmup_steps: int = 50
    weight_decay: float = 0.05
    vocabulary: int = 2048
    """At most so many tokens."""
    tokenizer_worlds: int = 5000
    """Worlds whose captions the tokenizer is trained on."""
    max_length: int = 48
    """Tokens per caption."""
    hidden: int = 128
    heads: int = 4
    language_layers: int = 4
    clip_layers: int = 3
    bfloat16: bool = True
    """Compute in bfloat16 by autocast; weights stay float32 until they are saved in float16."""
    measured_worlds: int = 1024
    """Held-out worlds in the report."""
    log_every: int = 20
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1 or self.measured_worlds < RETRIEVAL_CHOICES:
            raise InputError(
                f"expected steps >= 1 and measured_worlds >= {RETRIEVAL_CHOICES}, "
                f"received {self.steps} and {self.measured_worlds}"
            )


def train_text(config: TextConfig) -> TextReport | None:
    """Train, save the encoders and tokenizers, and measure them; None when interrupted (call again to resume).

    Equal configurations give equal weights, interrupted or not, on one machine with one number of threads.
    """
    run = RunFolder(config.run)
    tokenizer = _tokenizer(config, run.path / "tokenizer")
    networks = _networks(config, tokenizer)
    optimizer = torch.optim.AdamW(
        networks.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    first = 0
    if (state := run.load_checkpoint()) is not None:
        networks.load_state_dict(state["networks"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    with StopSignal() as stop:
        for step in range(first, config.steps):
            losses = _train_step(config, step, tokenizer, networks, optimizer)
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                run.log({"step": done, **{name: round(float(loss), 4) for name, loss in losses.items()}})
            if done % config.checkpoint_every == 0 or done == config.steps or stop.requested:
                run.save_checkpoint(done, {"networks": networks.state_dict(), "optimizer": optimizer.state_dict()})
            if stop.requested and done < config.steps:
                logger.info("stopped after step %d of %d", done, config.steps)
                return None
    _save(networks.half(), tokenizer, Path(config.output))
    pairs = [caption_pair(world, world) for world in HELD_OUT_WORLDS[: config.measured_worlds]]
    report = measure(networks.float().eval(), tokenizer, pairs, config.max_length)
    run.log({"step": config.steps, **{name: round(value, 4) for name, value in asdict(report).items()}})
    return report


def _tokenizer(config: TextConfig, folder: Path) -> PreTrainedTokenizerBase:
    """Trained once per run: the weights of a checkpoint belong to its tokens."""
    if not (folder / "tokenizer_config.json").exists():
        pairs = caption_pairs(WORLDS, config.tokenizer_worlds, _batch_seed(config.seed, _TOKENIZER_SEED))
        texts = (text for pair in pairs for text in (pair.short, pair.long))
        train_tokenizer(texts, config.vocabulary, config.max_length).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _networks(config: TextConfig, tokenizer: PreTrainedTokenizerBase) -> TextNetworks:
    layers = (config.language_layers, config.clip_layers)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return TextNetworks(tokenizer, config.max_length, config.hidden, config.heads, layers)


def _train_step(
    config: TextConfig,
    step: int,
    tokenizer: PreTrainedTokenizerBase,
    networks: TextNetworks,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    """One update of both encoders on batch `step`, which is a function of the seed and the step alone."""
    batch = list(caption_pairs(WORLDS, config.contrastive_batch, _batch_seed(config.seed, step)))
    # Half of the pairs set a short caption against a long one, the others two long ones.
    half = len(batch) // 2
    first = [pair.short for pair in batch[:half]] + [pair.long for pair in batch[half:]]
    sentences = [text for pair in batch for text in (pair.other_long, pair.short)][: config.language_batch]
    themes = torch.tensor([pair.theme for pair in batch])
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * _learning_rate_factor(step, config.warmup_steps, config.steps)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        losses = {
            "language": networks.language_loss(tokenize(tokenizer, sentences, config.max_length)),
            "contrastive": networks.contrastive_loss(
                tokenize(tokenizer, first, config.max_length),
                tokenize(tokenizer, [pair.other_long for pair in batch], config.max_length),
                themes,
            ),
        }
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    torch.nn.utils.clip_grad_norm_(networks.language.parameters(), 1.0)
    torch.nn.utils.clip_grad_norm_(networks.clip.parameters(), 1.0)
    optimizer.step()
    return losses


def _learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / max(1, warmup)) * cosine


def _batch_seed(seed: int, step: int) -> int:
    return (seed << 32) + step


def _save(networks: TextNetworks, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The encoders alone, without heads, in the dtype they have."""
    parts: dict[str, Any] = {
        "text_encoder": networks.language.model,
        "text_encoder_2": networks.clip,
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
