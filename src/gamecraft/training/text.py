"""Trains the embedded model's text encoders from captions: tokenizer, language model and CLIP, in minutes on a CPU."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from gamecraft.errors import CheckpointError, InputError
from gamecraft.files import write_atomically
from gamecraft.precision import cpu_autocast
from gamecraft.training.run import RunFolder, StopSignal
from gamecraft.training.text_data import CaptionPair, Description, caption_pair, caption_pairs, describe_worlds
from gamecraft.training.text_measure import RETRIEVAL_CHOICES, TextReport, measure
from gamecraft.training.text_networks import TextNetworks, tokenize
from gamecraft.training.text_tokenizer import train_tokenizer

__all__ = ["TextTraining", "train_text"]

logger = logging.getLogger(__name__)

_HELD_OUT_SEED = 1_000_000
"""Worlds from this seed on are for measuring only."""
_TOKENIZER_STEP = 1 << 31
"""In place of a step number where the tokenizer's captions are drawn."""


@dataclass(frozen=True, kw_only=True)
class TextTraining:
    """A training of both text encoders; `recipes/mini_text.yaml` has the embedded model's."""

    run: str
    """Folder for checkpoints and log; an interrupted training resumes from it."""
    output: str
    """Model folder; gets `text_encoder`, `text_encoder_2`, `tokenizer` and `tokenizer_2`."""
    seed: int = 0
    worlds: int = 1000
    """World seeds 0 .. worlds - 1 are described; their wordings and combinations are without end."""
    measured_worlds: int = 512
    """Held-out worlds in the report."""
    steps: int = 350
    language_batch: int = 32
    """Captions a step of the language model."""
    contrastive_batch: int = 96
    """Worlds a step of CLIP, each with two captions."""
    learning_rate: float = 2e-3
    """Its peak, after `warmup_steps`; falls to zero as a cosine."""
    warmup_steps: int = 50
    weight_decay: float = 0.05
    vocabulary: int = 2048
    """At most so many tokens."""
    tokenizer_pairs: int = 5000
    """Caption pairs the tokenizer is trained on."""
    max_length: int = 48
    """Tokens per caption."""
    hidden: int = 128
    heads: int = 4
    language_layers: int = 4
    clip_layers: int = 3
    log_every: int = 20
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1 or self.worlds < 1 or self.measured_worlds < RETRIEVAL_CHOICES:
            raise InputError(
                f"expected steps and worlds of at least 1 and measured_worlds of at least {RETRIEVAL_CHOICES}, "
                f"received {self.steps}, {self.worlds} and {self.measured_worlds}"
            )


def train_text(config: TextTraining) -> TextReport | None:
    """Train, save the encoders and tokenizers, and measure them; None when interrupted (call again to resume).

    Equal configurations give equal weights, interrupted or not, on one machine with one number of threads.
    """
    run = RunFolder(config.run)
    worlds = _descriptions(config, run.path / "worlds.json")
    tokenizer = _tokenizer(config, worlds)
    networks = _networks(config, tokenizer)
    if not _train(config, run, worlds, tokenizer, networks):
        return None
    _save(networks.half(), tokenizer, Path(config.output))
    held_out = describe_worlds(range(_HELD_OUT_SEED, _HELD_OUT_SEED + config.measured_worlds))
    pairs = [caption_pair(description, wording) for wording, description in enumerate(held_out)]
    report = measure(networks.float().eval(), tokenizer, pairs, config.max_length)
    run.log({"step": config.steps, **{name: round(value, 4) for name, value in asdict(report).items()}})
    return report


def _train(
    config: TextTraining,
    run: RunFolder,
    worlds: Sequence[Description],
    tokenizer: PreTrainedTokenizerBase,
    networks: TextNetworks,
) -> bool:
    """Resume and train `networks` in place; whether all steps are done."""
    optimizer = torch.optim.AdamW(
        networks.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    first = 0
    if (state := run.load_checkpoint()) is not None:
        if state["config"] != _identity(config):
            raise CheckpointError(f"{run.path} has checkpoints of another configuration; use another run folder")
        networks.load_state_dict(state["networks"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    with StopSignal() as stop:
        for step in range(first, config.steps):
            pairs = list(caption_pairs(worlds, config.contrastive_batch, _batch_seed(config.seed, step)))
            losses = _losses(config, pairs, tokenizer, networks)
            _update(networks, optimizer, losses, _learning_rate(config, step))
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                run.log({"step": done, **{name: round(loss.item(), 4) for name, loss in losses.items()}})
            if done % config.checkpoint_every == 0 or done == config.steps or stop.requested:
                weights = {"networks": networks.state_dict(), "optimizer": optimizer.state_dict()}
                run.save_checkpoint(done, {**weights, "config": _identity(config)})
            if stop.requested and done < config.steps:
                logger.info("stopped after step %d of %d", done, config.steps)
                return False
    return True


def _descriptions(config: TextTraining, file: Path) -> list[Description]:
    """Of the training worlds; kept beside the checkpoints, since building the worlds takes longer than reading them."""
    if not file.exists():
        with write_atomically(file, durable=True) as temporary:
            temporary.write_text(json.dumps(describe_worlds(range(config.worlds))), encoding="utf-8")
    descriptions: list[Description] = json.loads(file.read_text(encoding="utf-8"))
    return descriptions


def _tokenizer(config: TextTraining, worlds: Sequence[Description]) -> PreTrainedTokenizerBase:
    """The same at every call: a resumed run trains it again."""
    pairs = caption_pairs(worlds, config.tokenizer_pairs, _batch_seed(config.seed, _TOKENIZER_STEP))
    texts = (text for pair in pairs for text in (pair.short, pair.long))
    return train_tokenizer(texts, config.vocabulary, config.max_length)


def _networks(config: TextTraining, tokenizer: PreTrainedTokenizerBase) -> TextNetworks:
    layers = (config.language_layers, config.clip_layers)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return TextNetworks(tokenizer, config.max_length, config.hidden, config.heads, layers)


def _losses(
    config: TextTraining, pairs: Sequence[CaptionPair], tokenizer: PreTrainedTokenizerBase, networks: TextNetworks
) -> dict[str, Tensor]:
    # Half of the pairs set a short caption against a long one, the others two long ones.
    half = len(pairs) // 2
    first = [pair.short for pair in pairs[:half]] + [pair.long for pair in pairs[half:]]
    second = [pair.other_long for pair in pairs]
    sentences = [text for pair in pairs for text in (pair.other_long, pair.short)][: config.language_batch]
    with cpu_autocast():
        return {
            "language": networks.language_loss(tokenize(tokenizer, sentences, config.max_length)),
            "contrastive": networks.contrastive_loss(
                tokenize(tokenizer, first, config.max_length),
                tokenize(tokenizer, second, config.max_length),
                torch.tensor([pair.theme for pair in pairs]),
            ),
        }


def _update(
    networks: TextNetworks, optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor], learning_rate: float
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(list(losses.values()))
    torch.nn.utils.clip_grad_norm_(networks.language.parameters(), 1.0)
    torch.nn.utils.clip_grad_norm_(networks.clip.parameters(), 1.0)
    optimizer.step()


def _learning_rate(config: TextTraining, step: int) -> float:
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def _identity(config: TextTraining) -> dict[str, Any]:
    """What may not change when a run is resumed: all but where things are and how often they are written."""
    free = ("run", "output", "measured_worlds", "log_every", "checkpoint_every")
    return {name: value for name, value in asdict(config).items() if name not in free}


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
