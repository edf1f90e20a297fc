"""The training loop of the video transformer, on one process or many, resuming exactly."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from diffusers import FlowMatchEulerDiscreteScheduler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gamecraft.assembly import SAMPLING_FILE
from gamecraft.errors import InputError
from gamecraft.history import History
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.rays import pixel_directions
from gamecraft.training.batch_scenes import BatchScenes
from gamecraft.training.batch_transformer import BatchTransformer, Conditions, initialize
from gamecraft.training.chunk_batches import ChunkBatch, ChunkSampler
from gamecraft.training.latents import LatentDataset
from gamecraft.training.objectives import flow_loss, interpolate, sample_sigmas
from gamecraft.training.optimizers import MuonAdamW, learning_rate_factor, split_parameters
from gamecraft.training.run import Ema, RunFolder, StopSignal
from gamecraft.training.text_cache import TextCache
from gamecraft.training.transformer_evaluation import HeldOut, load_autoencoder

if TYPE_CHECKING:
    from gamecraft.training.transformer import TransformerTraining

__all__ = ["Trainer", "run_training"]

logger = logging.getLogger(__name__)


def run_training(trainer: Trainer) -> GameCraftTransformer3DModel:
    """Run, or continue, a training; the model with averaged weights, also saved as `transformer/` of the run.

    SIGTERM and Ctrl-C end it early after a checkpoint. Batches, noise and everything else random depend on the seed and
    the step alone, so a run that was killed and started again gives, on the same machine, the weights of one that was
    not.
    """
    trainer.resume()
    steps = trainer.config.max_steps
    with StopSignal() as stop, _progress(steps, trainer.is_main) as show:
        while trainer.step < steps and not trainer.any_process(stop.requested):
            trainer.train_step()
            trainer.keep_records(finished=trainer.step == steps)
            show(trainer)
        trainer.save_checkpoint()
    trained: GameCraftTransformer3DModel = trainer.transformer
    trainer.ema.copy_to(trained)
    return trained


class Trainer:
    """One process's part of a run that learns the velocity of the data; distillations have another `loss`."""

    def __init__(self, config: TransformerTraining) -> None:
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=config.precision, gradient_accumulation_steps=config.accumulation
        )
        device = self.accelerator.device
        self.run = RunFolder(config.run)
        dataset = LatentDataset(config.data, config.latents)
        self.text = TextCache(config.text, config.prompt, device, capacity=2 * len(dataset))
        self.sampler = ChunkSampler(
            dataset,
            batch_size=config.batch_size,
            seed=config.seed,
            mix=config.history_mix,
            history_noise=config.history_noise,
            dropping=config.dropping,
            own_history=config.own_history,
            older_view=config.older_view if config.depth else 0.0,
        )
        self.transformer = build_transformer(config, dataset, self.text).to(device)
        clips = dataset.clips
        directions = pixel_directions(clips.intrinsics, clips.height, clips.width)
        self.model = self.accelerator.prepare_model(
            BatchTransformer(self.transformer, directions, compiled=config.compile).to(device)
        )
        self.optimizer = MuonAdamW(
            *split_parameters(self.transformer),
            muon_rate=config.muon_lr,
            adam_rate=config.adamw_lr,
            weight_decay=config.weight_decay,
        )
        autoencoder = load_autoencoder(config.autoencoder).to(device) if config.autoencoder else None
        autocast = torch.bfloat16 if config.precision == "bf16" else None
        self.scenes = None
        if config.depth is not None:
            self.scenes = BatchScenes.load(config.depth, autoencoder, clips.intrinsics, device, autocast)
        self.scheduler = FlowMatchEulerDiscreteScheduler(shift=config.shift)
        self.ema = Ema(self.transformer, config.ema_decay)
        self.held_out = HeldOut(
            BatchTransformer(self.transformer, directions, compiled=False).to(device),
            LatentDataset(config.held_out, config.latents),
            self.text,
            autoencoder,
            self.scenes,
            shift=config.shift,
            autocast=autocast,
            settings=config.evaluation,
        )
        self.sampling: dict[str, float] = {"num_inference_steps": config.evaluation.steps}
        self.step = 0
        self.last_record: dict[str, float] = {}
        self._losses: list[float] = []
        self._busy = 0.0
        self._checkpoint_time = self._sample_time = time.monotonic()

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.accelerator.is_main_process)

    def resume(self) -> None:
        """Continue from the newest checkpoint of the run folder, if there is one."""
        state = self.run.load_checkpoint()
        if state is None:
            return
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]
        logger.info("resumed %s at step %d", self.run.path, self.step)

    def any_process(self, flag: bool) -> bool:
        """Whether any process has the flag set: all of them must leave the loop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        total = self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device))
        return bool(total > 0)

    def train_step(self) -> None:
        """One optimizer step."""
        start, config = time.monotonic(), self.config
        loss = sum(self._micro_step(micro) for micro in range(config.accumulation)) / config.accumulation
        norm = torch.nn.utils.clip_grad_norm_(self.transformer.parameters(), config.clip_norm)
        factor = learning_rate_factor(self.step, config.max_steps, config.schedule)
        self.optimizer.step(factor)
        self.ema.update(self.transformer)
        self.step += 1
        self._losses.append(loss)
        self._busy += time.monotonic() - start
        if self.step % config.log_every == 0 or self.step == config.max_steps:
            self._log(gradient_norm=float(norm), factor=factor)

    def keep_records(self, *, finished: bool) -> None:
        """Write what is due: checkpoint, averaged model with its measures and samples."""
        if not self.is_main:
            return
        now = time.monotonic()
        if finished or now - self._sample_time > 60 * self.config.sample_every_minutes:
            self._evaluate()
            self._sample_time = time.monotonic()
        if now - self._checkpoint_time > 60 * self.config.checkpoint_minutes:
            self.save_checkpoint()
            self._checkpoint_time = time.monotonic()

    def save_checkpoint(self) -> None:
        """Write everything a resumed run needs; other processes hold the same and write nothing."""
        if self.is_main:
            self.run.save_checkpoint(self.step, {name: part.state_dict() for name, part in self.parts().items()})

    def parts(self) -> dict[str, Any]:
        """Everything whose state a checkpoint holds, by its name there."""
        return {"transformer": self.transformer, "optimizer": self.optimizer, "ema": self.ema}

    def loss(self, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> Tensor:
        """What is minimised, for a batch whose captions were encoded as `text`."""
        noise = torch.randn(batch.latents.shape, generator=generator)
        sigmas = sample_sigmas(len(noise), self.config.shift, generator)
        noisy = interpolate(batch.latents, noise, sigmas)
        velocity = self.model(noisy, sigmas, batch.history, Conditions.of(batch, text))
        return flow_loss(velocity, batch.latents.to(velocity.device), noise.to(velocity.device)).mean()

    def draw(self, micro: int) -> tuple[ChunkBatch, PromptEmbeds, torch.Generator]:
        """The batch of a micro-step, which no other one, process or step has, its text and the source of its noise."""
        number = self.step * self.config.accumulation + micro
        number = number * self.accelerator.num_processes + self.accelerator.process_index
        generator = self.sampler.generator(number)
        batch = self.sampler.draw(number, generator)
        text = self.text(batch.captions)
        if batch.own_history:
            batch = self._with_own_history(batch, text, generator)
        elif self.scenes:
            batch = self.scenes.show(batch)
        return batch, text, generator

    def _micro_step(self, micro: int) -> float:
        """Gradients of one batch."""
        with self.accelerator.accumulate(self.model):
            loss = self.loss(*self.draw(micro))
            self.accelerator.backward(loss)
        return float(loss.detach())

    def _with_own_history(self, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> ChunkBatch:
        """The batch with a history of one clip, made by the model from the clips before it."""
        *earlier, clip = batch.history.clips
        *before, poses = batch.history.poses
        history = History(clips=tuple(earlier), poses=tuple(before))
        last = replace(
            batch,
            latents=clip,
            history=history,
            poses=poses,
            images=batch.images[1:],
            image_poses=batch.image_poses[:, 1:],
            unconditional=torch.zeros_like(batch.unconditional),
        )
        if self.scenes:
            last = self.scenes.show(last)
        made = self.accelerator.unwrap_model(self.model).sample(
            last,
            torch.randn(clip.shape, generator=generator),
            Conditions.of(last, text),
            self.scheduler,
            steps=self.config.own_history.steps,
            autocast=torch.bfloat16 if self.config.precision == "bf16" else None,
        )
        batch = replace(batch, history=History(clips=(made,), poses=(poses,)), own_history=False)
        return self.scenes.show(batch, made=made) if self.scenes else batch

    def _log(self, *, gradient_norm: float, factor: float) -> None:
        samples = len(self._losses) * self.config.batch_size * self.config.accumulation
        self.last_record = {
            "step": self.step,
            "loss": sum(self._losses) / len(self._losses),
            "gradient_norm": gradient_norm,
            "learning_rate_factor": factor,
            "ms_per_sample": 1000 * self._busy / samples,
        }
        self._losses, self._busy = [], 0.0
        if self.is_main:
            self.run.log(self.last_record)
            logger.info("%s", _rounded(self.last_record))

    def _evaluate(self) -> None:
        """Save the averaged model, measure it on held-out recordings and draw samples."""
        sheet = self.run.path / "sheets" / f"{self.step:06d}.png"
        self.transformer.eval()
        with self.ema.applied(self.transformer):
            sampling = {"shift": self.config.shift, **self.sampling}
            _save_model(self.transformer, self.run.path / "transformer", sampling)
            losses, samples = self.held_out.losses(), self.held_out.sheet(sheet)
        self.transformer.train()
        for number, sample in enumerate(samples):
            logger.info("step %d, held-out sample %d: %s", self.step, number, _rounded(sample))
        logger.info("step %d, held-out loss %s", self.step, _rounded(losses))
        self.run.log({"step": self.step, "held_out": losses, "samples": samples})


def build_transformer(
    config: TransformerTraining, dataset: LatentDataset, text: TextCache
) -> GameCraftTransformer3DModel:
    """The model of `init_from`, or a new one whose weights depend on the seed alone."""
    channels, _, latent_height, _ = dataset.latent_shape
    derived = {
        "in_channels": 2 * channels + 1,
        "out_channels": channels,
        "text_embed_dim": text.embed_dim,
        "pooled_projection_dim": text.pooled_dim,
        "spatial_ratio": dataset.clips.height // latent_height,
    }
    transformer: GameCraftTransformer3DModel
    if config.init_from is not None:
        transformer = GameCraftTransformer3DModel.from_pretrained(
            config.init_from, scene_trust=config.model.scene_trust
        )
        for name, value in derived.items():
            if transformer.config[name] != value:
                raise InputError(
                    f"the transformer in {config.init_from} has {name} {transformer.config[name]}, "
                    f"the data and text encoders need {value}"
                )
        transformer.train()
        return transformer
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        transformer = GameCraftTransformer3DModel(**asdict(config.model), **derived)
    initialize(transformer)
    return transformer


def _save_model(transformer: GameCraftTransformer3DModel, folder: Path, sampling: dict[str, float]) -> None:
    """Write a model folder that appears whole, with how it is to be sampled."""
    partial, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    shutil.rmtree(partial, ignore_errors=True)
    transformer.save_pretrained(partial)
    (partial / SAMPLING_FILE).write_text(json.dumps(sampling, indent=2) + "\n")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _progress(steps: int, visible: bool) -> Iterator[Callable[[Trainer], None]]:
    """A progress bar; the function given updates it from the trainer."""
    columns = (
        TextColumn("transformer"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, speed_estimate_period=600, disable=not visible) as progress:
        task = progress.add_task("", total=steps, state="")

        def show(trainer: Trainer) -> None:
            state = "loss {loss:.4f}  {ms_per_sample:.0f} ms/sample".format_map(trainer.last_record or _NOT_YET)
            progress.update(task, completed=trainer.step, state=state)

        yield show


_NOT_YET = {"loss": float("nan"), "ms_per_sample": float("nan")}


def _rounded(record: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in record.items()}
