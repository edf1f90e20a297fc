"""Trains the video transformer by flow matching on cached latents, on one process or many, resuming exactly."""

from dataclasses import dataclass, field
from typing import Literal

from gamecraft.errors import InputError
from gamecraft.models.text import PromptSettings
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.chunk_batches import Dropping
from gamecraft.training.history_sampling import HistoryMix, OwnHistory
from gamecraft.training.lora import LoraSettings
from gamecraft.training.motion_sampling import MotionSampling
from gamecraft.training.optimizers import Schedule
from gamecraft.training.tracking import TrackerName
from gamecraft.training.trainer import Trainer, run_training
from gamecraft.training.transformer_evaluation import EvaluationSettings

__all__ = ["TransformerShape", "TransformerTraining", "train_transformer"]


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """Shape of a new transformer; channels and text widths follow from the data and the text encoders."""

    num_attention_heads: int = 4
    attention_head_dim: int = 64
    num_layers: int = 1
    num_single_layers: int = 6
    num_refiner_layers: int = 1
    mlp_ratio: float = 4.0
    rope_theta: float = 32.0
    rope_axes_dim: tuple[int, ...] = (8, 14, 14, 14, 14)
    rope_depths: tuple[float, ...] = (4.0, 16.0)
    rope_per_radian: float = 8.0
    rope_values: bool = True
    history_rays: Literal["zero", "true"] = "true"
    action_fusion: Literal["add", "channels"] = "add"
    prediction: Literal["velocity", "residual"] = "residual"
    scene_trust: float | None = None
    """None is 0 for a new model and what it was for that of `init_from`, which otherwise gets the value too."""


@dataclass(frozen=True, kw_only=True)
class TransformerTraining:
    """A training run. The defaults are the embedded model's recipe."""

    run: str
    """Run folder: checkpoints, log.jsonl, the averaged model as transformer/, and sheets/."""
    data: str
    """Dataset folder with a latent cache."""
    held_out: str
    """Dataset folder with a latent cache of worlds that are not in `data`."""
    latents: str
    """Name of both latent caches."""
    text: str
    """Folder with text_encoder, tokenizer, text_encoder_2 and tokenizer_2."""
    autoencoder: str | None = None
    """Folder of the autoencoder that made the latents, to draw samples and scenes."""
    depth: str | None = None
    """Folder of a depth estimator: the model then learns to use a memory of the scene (`gamecraft.scene`)."""
    older_view: float = 0.3
    """Share of the batches in which the scene is also seen from one chunk further back."""
    init_from: str | None = None
    """Folder of a saved transformer whose shape and weights to start from."""
    lora: LoraSettings | None = None
    """Train low-rank layers beside those of `init_from` and not the model itself."""
    model: TransformerShape = field(default_factory=TransformerShape)
    prompt: PromptSettings | None = None
    """How captions are fed to the text encoders; by default as the model in the folder `text` does."""
    max_steps: int = 4000
    """Optimizer steps; may be changed when a run is resumed, which moves the end of the schedule."""
    batch_size: int = 16
    """Chunks per process and micro-step."""
    accumulation: int = 1
    """Micro-steps per optimizer step."""
    schedule: Schedule = field(default_factory=Schedule)
    muon_lr: float | None = 0.01
    """Without it AdamW has all weights."""
    adamw_lr: float = 6e-4
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.997
    shift: float = 5.0
    """Shift of the noise levels, that of the scheduler at inference."""
    history_mix: HistoryMix = field(default_factory=HistoryMix)
    history_noise: float = 0.1
    """Largest standard deviation of the noise on history latents."""
    own_history: OwnHistory = field(default_factory=OwnHistory)
    motion: MotionSampling = field(default_factory=MotionSampling)
    dropping: Dropping = field(default_factory=Dropping)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What networks compute in beside float32 weights; "auto" is bf16, or fp32 on a CPU that has no bfloat16."""
    compile: bool = True
    gradient_checkpointing: bool = False
    """Compute the blocks again in the backward pass and keep nothing of them: a third more time, far less memory."""
    shard: bool = False
    """Divide weights, gradients and optimizer among the processes (FSDP2)."""
    context_parallel: int = 1
    """Processes that share the tokens of each batch."""
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Where the log goes beside the console and log.jsonl."""
    seed: int = 0
    checkpoint_minutes: float = 3.0
    sample_every_minutes: float = 10.0
    log_every: int = 20
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)

    def __post_init__(self) -> None:
        if min(self.max_steps, self.batch_size, self.accumulation, self.log_every) < 1:
            raise InputError("max_steps, batch_size, accumulation and log_every must be at least 1")
        if self.context_parallel < 1 or (self.context_parallel > 1 and self.compile):
            raise InputError("context_parallel is a number of processes, and more than 1 need compile: false")
        if self.lora is not None and self.init_from is None:
            raise InputError("lora trains layers beside a model: give the model's folder as init_from")
        if self.depth is not None and self.autoencoder is None:
            raise InputError("a scene memory (depth) needs the autoencoder that made the latents: give its folder")


def train_transformer(config: TransformerTraining) -> GameCraftTransformer3DModel:
    """Run, or continue, the training: see `run_training`."""
    return run_training(Trainer(config))
