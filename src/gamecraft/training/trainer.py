"""The training loop of the video transformer, on one process or many, resuming exactly."""

from __future__ import annotations

import logging
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
from torch.distributed.tensor import DTensor

from gamecraft.errors import InputError
from gamecraft.history import History
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.parallel import lost_ranks_told
from gamecraft.precision import autocast_dtype, quicken_gelu
from gamecraft.rays import pixel_directions
from gamecraft.training.batch_scenes import BatchScenes
from gamecraft.training.batch_transformer import BatchTransformer, Conditions, initialize
from gamecraft.training.chunk_batches import ChunkBatch, ChunkSampler
from gamecraft.training.latents import LatentDataset
from gamecraft.training.lora import add_lora
from gamecraft.training.objectives import flow_loss, interpolate, sample_sigmas
from gamecraft.training.optimizers import MuonAdamW, learning_rate_factor, split_parameters
from gamecraft.training.run import Ema, RunFolder, StopSignal
from gamecraft.training.saving import TrainedWeights, save_trained
from gamecraft.training.sequence_sharing import share_sequence
from gamecraft.training.sharding import ShardedRunFolder, shard, whole_state
from gamecraft.training.text_cache import TextCache, prompt_settings
from gamecraft.training.tracking import Trackers, check_trackers, project
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
    steps = trainer.config.max_steps
    with lost_ranks_told(), StopSignal() as stop, _progress(steps, trainer.is_main) as show:
        trainer.resume()
        while trainer.step < steps and not trainer.any_process(stop.requested):
            trainer.train_step()
            trainer.keep_records(finished=trainer.step == steps)
            show(trainer)
        trainer.save_checkpoint()
        trainer.trackers.close()
    trained: GameCraftTransformer3DModel = trainer.transformer
    trainer.ema.copy_to(trained)
    return trained


class Trainer:
    """One process's part of a run that learns the velocity of the data; distillations have another `loss`."""

    def __init__(self, config: TransformerTraining) -> None:
        self.config = config
        check_trackers(config.trackers)
        self.autocast = training_autocast(config)
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),  # or else it ignores torchrun on machines without one
            mixed_precision="no" if self.autocast is None else "bf16",
            gradient_accumulation_steps=config.accumulation,
            log_with=list(config.trackers) or None,
            project_config=project(Path(config.run)),
        )
        device = self.accelerator.device
        self.trackers = Trackers(self.accelerator)
        self.run = (ShardedRunFolder if config.shard else RunFolder)(config.run)
        dataset = LatentDataset(config.data, config.latents)
        prompt = config.prompt or prompt_settings(config.text)
        self.text = TextCache(config.text, prompt, device, capacity=2 * len(dataset))
        self.sampler = ChunkSampler(
            dataset,
            batch_size=config.batch_size,
            seed=config.seed,
            mix=config.history_mix,
            history_noise=config.history_noise,
            dropping=config.dropping,
            own_history=config.own_history,
            older_view=config.older_view if config.depth else 0.0,
            motion=config.motion,
            backwards=LatentDataset(config.data, config.latents, backwards=True) if config.motion.reverse else None,
        )
        self.transformer = build_transformer(config, dataset, self.text)
        if config.gradient_checkpointing:
            self.transformer.enable_gradient_checkpointing()
        clips = dataset.clips
        self.directions = pixel_directions(clips.intrinsics, clips.height, clips.width).to(device)
        self.model = self.prepare(self.on_batches(self.transformer))
        self.optimizer = MuonAdamW(
            *split_parameters(self.transformer),
            muon_rate=config.muon_lr,
            adam_rate=config.adamw_lr,
            weight_decay=config.weight_decay,
        )
        autoencoder = load_autoencoder(config.autoencoder).to(device) if config.autoencoder else None
        self.scenes = None
        if config.depth is not None:
            self.scenes = BatchScenes.load(config.depth, autoencoder, clips.intrinsics, device, self.autocast)
        self.scheduler = FlowMatchEulerDiscreteScheduler(shift=config.shift)
        self.ema = Ema(self.transformer, config.ema_decay)
        self.held_out = HeldOut(
            BatchTransformer(self.transformer, self.directions, compiled=False),
            LatentDataset(config.held_out, config.latents),
            self.text,
            autoencoder,
            self.scenes,
            shift=config.shift,
            autocast=self.autocast,
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

    @property
    def together(self) -> bool:
        """Whether the processes hold parts of one model, so that all must take part in whatever it does."""
        return self.config.shard or self.config.context_parallel > 1

    def on_batches(self, transformer: GameCraftTransformer3DModel) -> BatchTransformer:
        """A model on this process's device, or this process's part of it, as batches are given to it."""
        config, device = self.config, self.accelerator.device
        quicken_gelu(transformer, self.autocast, device)
        if config.context_parallel > 1:
            share_sequence(transformer, config.context_parallel, device)
        if not config.shard:
            return BatchTransformer(transformer.to(device), self.directions, compiled=config.compile)
        shard(transformer, device, half=self.autocast is not None, compiled=config.compile)
        return BatchTransformer(transformer, self.directions, compiled=False)

    def prepare(self, model: BatchTransformer) -> Any:
        """The model with mixed precision, and with its gradients averaged over the processes."""
        return self.accelerator.prepare_model(model, evaluation_mode=self.config.shard)

    def resume(self) -> None:
        """Continue from the newest checkpoint of the run folder, if there is one."""
        if self.config.shard and self.run.checkpoints():
            for part in self.parts().values():
                if isinstance(part, MuonAdamW):
                    part.fill_state()
        state = self.run.load_checkpoint(self._state() if self.config.shard else None)
        if state is not None:
            for name, part in self.parts().items():
                part.load_state_dict(state[name])
            self.step = state["step"]
            logger.info("resumed %s at step %d", self.run.path, self.step)
        self.trackers.start(self.step)

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
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
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
        now = time.monotonic()
        sample = finished or now - self._sample_time > 60 * self.config.sample_every_minutes
        save = now - self._checkpoint_time > 60 * self.config.checkpoint_minutes
        if self.together:  # their clocks differ
            sample, save = self.any_process(sample), self.any_process(save)
        if sample and (self.is_main or self.together):
            self._evaluate()
            self._sample_time = time.monotonic()
        if save:
            self.save_checkpoint()
            self._checkpoint_time = time.monotonic()

    def save_checkpoint(self) -> None:
        """Write everything a resumed run needs; unless the model is divided, the main process has all of it."""
        if self.is_main or self.config.shard:
            self.run.save_checkpoint(self.step, self._state())

    def _state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts().items()}

    def parts(self) -> dict[str, Any]:
        """Everything whose state a checkpoint holds, by its name there."""
        return {"transformer": TrainedWeights(self.transformer), "optimizer": self.optimizer, "ema": self.ema}

    def loss(self, batch: ChunkBatch, text: PromptEmbeds, generator: torch.Generator) -> Tensor:
        """What is minimised, for a batch whose captions were encoded as `text`."""
        noise = torch.randn(batch.latents.shape, generator=generator)
        sigmas = sample_sigmas(len(noise), self.config.shift, generator)
        noisy = interpolate(batch.latents, noise, sigmas)
        velocity = self.model(noisy, sigmas, batch.history, Conditions.of(batch, text))
        return flow_loss(velocity, batch.latents.to(velocity.device), noise.to(velocity.device)).mean()

    def draw(self, micro: int) -> tuple[ChunkBatch, PromptEmbeds, torch.Generator]:
        """The batch of a micro-step, which no other one, process or step has, its text and the source of its noise."""
        share = self.config.context_parallel  # processes that compute one batch
        number = self.step * self.config.accumulation + micro
        number = number * (self.accelerator.num_processes // share) + self.accelerator.process_index // share
        generator = self.sampler.generator(number)
        batch = self.sampler.draw(number, generator)
        text = self.text(batch.captions)
        own = batch.own_history
        if self.config.shard and self.config.own_history.share and self.any_process(own) and not own:
            self._sample(batch, text, torch.zeros_like(batch.latents))  # another one samples and needs the whole model
        if own:
            batch = self._with_own_history(batch, text, generator)
        elif self.scenes:
            batch = self.scenes.show(batch)
        return batch, text, generator

    def _micro_step(self, micro: int) -> float:
        """Gradients of one batch."""
        with self.accelerator.accumulate(self.model):
            loss = self.loss(*self.draw(micro))
            # of processes that share a batch each has a part of its gradient, and the average over all is taken
            self.accelerator.backward(loss * self.config.context_parallel)
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
        made = self._sample(last, text, torch.randn(clip.shape, generator=generator))
        batch = replace(batch, history=History(clips=(made,), poses=(poses,)), own_history=False)
        return self.scenes.show(batch, made=made) if self.scenes else batch

    def _sample(self, batch: ChunkBatch, text: PromptEmbeds, noise: Tensor) -> Tensor:
        """Chunks [B, C, t, h, w] that the model makes of noise, after the history of a batch."""
        made: Tensor = self.accelerator.unwrap_model(self.model).sample(
            batch,
            noise,
            Conditions.of(batch, text),
            self.scheduler,
            steps=self.config.own_history.steps,
            autocast=self.autocast,
        )
        return made

    def _log(self, *, gradient_norm: float, factor: float) -> None:
        samples = len(self._losses) * self.config.batch_size * self.config.accumulation
        loss = torch.tensor(sum(self._losses) / len(self._losses), device=self.accelerator.device)
        self.last_record = {
            "step": self.step,
            "loss": float(self.accelerator.reduce(loss, "mean")),
            "gradient_norm": gradient_norm,
            "learning_rate_factor": factor,
            "ms_per_sample": 1000 * self._busy / samples,
        }
        self._losses, self._busy = [], 0.0
        if self.is_main:
            self.run.log(self.last_record)
            self.trackers.scalars({"train": self.last_record}, self.step)
            logger.info("%s", _rounded(self.last_record))

    def _evaluate(self) -> None:
        """Save the averaged model, measure it on held-out recordings and draw samples."""
        sheet = self.run.path / "sheets" / f"{self.step:06d}.png"
        self.transformer.eval()
        with self.ema.applied(self.transformer):
            weights = whole_state(self.transformer)
            if self.is_main:
                save_trained(self.transformer, weights, self.run.path, {"shift": self.config.shift, **self.sampling})
            losses, samples = self.held_out.losses(), self.held_out.sheet(sheet if self.is_main else None)
        self.transformer.train()
        if not self.is_main:
            return
        for number, sample in enumerate(samples):
            logger.info("step %d, held-out sample %d: %s", self.step, number, _rounded(sample))
        logger.info("step %d, held-out loss %s", self.step, _rounded(losses))
        self.run.log({"step": self.step, "held_out": losses, "samples": samples})
        means = {name: sum(row[name] for row in samples) / len(samples) for name in samples[0]} if samples else {}
        self.trackers.scalars({"held_out": losses, "samples": means}, self.step)
        self.trackers.picture("samples", sheet, self.step)


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
    shape = asdict(config.model)
    trust = {} if config.model.scene_trust is None else {"scene_trust": config.model.scene_trust}
    del shape["scene_trust"]
    if config.init_from is not None:
        transformer = GameCraftTransformer3DModel.from_pretrained(
            config.init_from, torch_dtype=_stored(config), **trust
        )
        for name, value in derived.items():
            if transformer.config[name] != value:
                raise InputError(
                    f"the transformer in {config.init_from} has {name} {transformer.config[name]}, "
                    f"the data and text encoders need {value}"
                )
        if config.lora is not None:
            add_lora(transformer, config.lora, config.seed)
        transformer.train()
        return transformer
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        transformer = GameCraftTransformer3DModel(**shape, **trust, **derived)
    initialize(transformer)
    return transformer


def training_autocast(config: TransformerTraining) -> torch.dtype | None:
    """What the networks of a training compute in, if it is not float32."""
    return autocast_dtype(config.precision, torch.accelerator.current_accelerator() or "cpu")


def _stored(config: TransformerTraining) -> torch.dtype:
    """What is trained is kept in float32; a base that stays as it is, in what it computes in."""
    return (config.lora and training_autocast(config)) or torch.float32


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
