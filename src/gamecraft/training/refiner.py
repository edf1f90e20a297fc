"""Train the refiner of decoded frames on what the whole model generates."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.model_folder import check_model_folder
from gamecraft.models.refiner import FrameRefiner
from gamecraft.precision import cpu_autocast
from gamecraft.training.autoencoder import psnr, reconstruction_loss, sharpness
from gamecraft.training.generated import GeneratedChunks, GeneratedSettings, generated_chunks
from gamecraft.training.loop import LoopSettings, run_loop
from gamecraft.training.optimizers import Schedule
from gamecraft.training.run import RunFolder

__all__ = ["RefinerTraining", "measure_refined", "train_refiner"]

_HELD_OUT = 96


@dataclass(frozen=True, kw_only=True)
class RefinerTraining(LoopSettings):
    """A training run of `FrameRefiner`. The defaults are the embedded model's recipe.

    data, held_out: dataset folders. run: run folder; the refiner appears there as `refiner/`.
    generated: the model whose frames are refined. Its own refiner, if it has one, takes part in the play.
    start: folder of a refiner to go on from, whose shape it keeps.
    l1_weight, edge_weight, contrast_weight: see `reconstruction_loss`.
    """

    data: str
    held_out: str
    run: str
    generated: GeneratedSettings
    start: str | None = None
    channels: tuple[int, ...] = (32, 64)
    blocks: tuple[int, ...] = (0, 1)
    batch_size: int = 3
    steps: int = 400
    schedule: Schedule = field(default_factory=lambda: Schedule(warmup_steps=10, cooldown_steps=240))
    l1_weight: float = 0.02
    edge_weight: float = 0.05
    contrast_weight: float = 1.5
    ema_decay: float = 0.97
    evaluate_every: int = 400
    compile: bool = False


@torch.inference_mode()
def measure_refined(refiner: FrameRefiner, made: GeneratedChunks) -> dict[str, float]:
    """Mean PSNR in dB and sharpness of chunks as they were decoded, and as they are refined."""
    sums = dict.fromkeys(("psnr_decoded", "sharpness_decoded", "psnr", "sharpness"), 0.0)
    for number in range(len(made)):
        batch = made.at([number])
        with cpu_autocast():
            refined = refiner(batch["decoded"], batch["drawn"], batch["covered"]).float()
        for ending, video in (("_decoded", batch["decoded"]), ("", refined)):
            sums[f"psnr{ending}"] += psnr(video, batch["true"])
            sums[f"sharpness{ending}"] += sharpness(video, batch["true"])
    return {name: value / len(made) for name, value in sums.items()}


def train_refiner(config: RefinerTraining) -> FrameRefiner:
    """Run, or continue, the training of `config`; the refiner has averaged weights, and is `refiner/` of the run.

    See `run_loop` for interruptions; batches depend on the seed and the step alone.

    Raises:
        CheckpointError: there is no usable model at `config.generated.model`.
        InputError: that model has no scene memory, so that there is nothing to choose from.
    """
    if check_model_folder(config.generated.model).get("depth_estimator", [None])[0] is None:
        raise InputError(
            f"{config.generated.model} has no scene memory, which a refiner takes from; package it with --depth"
        )
    run = RunFolder(config.run)
    made = generated_chunks(config.generated, config.data, run.path / "generated", config.seed)
    few = replace(config.generated, chunks=_HELD_OUT)
    held_out = generated_chunks(few, config.held_out, run.path / "generated-held-out", config.seed)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        refiner: FrameRefiner = (
            FrameRefiner.from_pretrained(config.start)
            if config.start
            else FrameRefiner(channels=config.channels, blocks=config.blocks)
        )

    def batch(step: int) -> tuple[Tensor, ...]:
        drawn: dict[str, Any] = made.batch(step, size=config.batch_size)
        return tuple(drawn[name] for name in ("decoded", "drawn", "covered", "true"))

    def loss(decoded: Tensor, drawn: Tensor, covered: Tensor, true: Tensor) -> Tensor:
        with cpu_autocast():
            refined = refiner(decoded, drawn, covered)
        names = ("l1_weight", "edge_weight", "contrast_weight")
        return reconstruction_loss(refined, true, **{name: getattr(config, name) for name in names})

    run_loop(
        config,
        run,
        refiner,
        part="refiner",
        hidden=[p for blocks in (*refiner.encoders, *refiner.decoders) for p in blocks.parameters() if p.ndim == 4],
        batch=batch,
        loss=loss,
        measure=lambda: measure_refined(refiner, held_out),
    )
    return refiner
