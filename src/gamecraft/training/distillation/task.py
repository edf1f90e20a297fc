"""The configuration of a distillation and its start."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gamecraft.errors import InputError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.distillation.consistency import ConsistencyDistiller, ConsistencySettings
from gamecraft.training.distillation.guidance import GuidanceDistiller, GuidanceSettings
from gamecraft.training.distillation.matching import MatchingDistiller, MatchingSettings
from gamecraft.training.trainer import Trainer, run_training
from gamecraft.training.transformer import TransformerTraining

__all__ = ["Distillation", "distill"]


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """A distillation run."""

    teacher: str
    """Folder of the trained transformer; the student starts from it unless `training.init_from` says otherwise."""
    method: Literal["guidance", "consistency", "matching"]
    training: TransformerTraining
    """Data, optimizer and schedule, as for a training."""
    guidance: GuidanceSettings = field(default_factory=GuidanceSettings)
    consistency: ConsistencySettings = field(default_factory=ConsistencySettings)
    matching: MatchingSettings = field(default_factory=MatchingSettings)

    def __post_init__(self) -> None:
        if self.training.init_from is None:
            object.__setattr__(self, "training", replace(self.training, init_from=self.teacher))


def distill(config: Distillation) -> GameCraftTransformer3DModel:
    """Run, or continue, a distillation: see `gamecraft.training.trainer.run_training`."""
    if not (Path(config.teacher) / "config.json").is_file():
        raise InputError(f"the teacher {config.teacher} is no transformer folder: it has no config.json")
    trainer: Trainer
    if config.method == "guidance":
        trainer = GuidanceDistiller(config.training, config.teacher, config.guidance)
    elif config.method == "consistency":
        trainer = ConsistencyDistiller(config.training, config.teacher, config.consistency)
    else:
        trainer = MatchingDistiller(config.training, config.teacher, config.matching)
    return run_training(trainer)
