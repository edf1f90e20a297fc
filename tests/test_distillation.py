"""Distillations learn what they say, and resume exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.batch_transformer import Conditions
from gamecraft.training.distillation.consistency import ConsistencyDistiller, ConsistencySettings
from gamecraft.training.distillation.guidance import GuidanceDistiller, GuidanceSettings
from gamecraft.training.distillation.matching import MatchingDistiller, MatchingSettings
from gamecraft.training.distillation.task import Distillation, distill
from gamecraft.training.distillation.teacher import Teacher
from gamecraft.training.history_sampling import OwnHistory
from gamecraft.training.objectives import shift_sigmas
from gamecraft.training.run import RunFolder
from gamecraft.training.trainer import Trainer
from gamecraft.training.transformer import TransformerTraining, train_transformer

METHODS = ("guidance", "consistency", "matching")


@pytest.fixture
def teacher(training: TransformerTraining) -> str:
    """A transformer that has learnt enough for its output to be other than zero."""
    train_transformer(replace(training, run=training.run + "-teacher", max_steps=3, adamw_lr=1e-2))
    return training.run + "-teacher/transformer"


@pytest.fixture
def student(training: TransformerTraining, teacher: str) -> TransformerTraining:
    return replace(training, init_from=teacher, adamw_lr=5e-3, own_history=OwnHistory())


def repeated(trainer: Trainer, updates: int) -> list[float]:
    """Losses of one batch with the same noise, an update between each two."""
    batch, text, _ = trainer.draw(0)
    losses = []
    for _ in range(updates):
        loss = trainer.loss(batch, text, torch.Generator().manual_seed(0))
        trainer.accelerator.backward(loss)
        trainer.optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_the_guided_teacher_goes_beyond_its_conditional_velocity(student: TransformerTraining, teacher: str) -> None:
    trainer = Trainer(student)
    source = Teacher(trainer, teacher)
    batch, text, generator = trainer.draw(0)
    noise, sigmas = torch.randn(batch.latents.shape, generator=generator), torch.tensor([0.3, 0.8])

    def velocity(scale: float | Tensor) -> Tensor:
        return source.velocity(noise, sigmas, batch, text, scale)

    plain, nothing, guided = velocity(1.0), velocity(0.0), velocity(3.0)
    torch.testing.assert_close(guided, nothing + 3 * (plain - nothing))
    torch.testing.assert_close(velocity(torch.tensor([1.0, 3.0])), torch.stack([plain[0], guided[1]]))
    still = Conditions.unconditional(batch, trainer.text(["", ""])).poses
    assert torch.allclose(still[:, -1], torch.eye(4).expand(2, 4, 4), atol=1e-6)


def test_a_student_learns_the_guided_velocity(student: TransformerTraining, teacher: str) -> None:
    losses = repeated(GuidanceDistiller(student, teacher, GuidanceSettings(lowest=40.0, highest=40.0)), 20)
    assert losses[-1] < 0.5 * losses[0]


def test_without_guidance_the_student_is_its_teacher(student: TransformerTraining, teacher: str) -> None:
    trainer = GuidanceDistiller(student, teacher, GuidanceSettings(lowest=1.0, highest=1.0))
    assert float(trainer.loss(*trainer.draw(0))) == pytest.approx(0, abs=1e-9)


def test_points_of_a_straight_trajectory_are_consistent(student: TransformerTraining, teacher: str) -> None:
    """Where the velocity is the same everywhere, one step to the end of a phase says what the teacher's says."""
    trainer = ConsistencyDistiller(student, teacher, ConsistencySettings(phases=2, teacher_steps=8))
    constant = torch.full((2, *trainer.draw(0)[0].latents.shape[1:]), 0.7)
    trainer.model = lambda *_: constant.requires_grad_()
    trainer.teacher.velocity = lambda *_: constant  # type: ignore[method-assign]
    assert float(trainer.loss(*trainer.draw(0))) == pytest.approx(0, abs=1e-6)


def test_a_student_becomes_consistent(student: TransformerTraining, teacher: str) -> None:
    losses = repeated(ConsistencyDistiller(student, teacher, ConsistencySettings(phases=1, teacher_steps=4)), 25)
    assert losses[-1] < 0.8 * losses[0]


def test_the_phases_end_where_the_scheduler_steps(student: TransformerTraining, teacher: str) -> None:
    trainer = ConsistencyDistiller(student, teacher, ConsistencySettings(phases=4, teacher_steps=8))
    trainer.scheduler.set_timesteps(sigmas=torch.linspace(1, 0, 5)[:-1].tolist())
    edges = shift_sigmas(torch.tensor([8, 6, 4, 2, 0]) / 8, student.shift)
    torch.testing.assert_close(trainer.scheduler.sigmas, edges)


def test_a_student_that_makes_what_the_teacher_would_has_no_gradient(
    student: TransformerTraining, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The critic starts as the teacher, so before it has learnt anything the two densities are the same."""
    trainer = MatchingDistiller(student, teacher, MatchingSettings(steps=2, critic_updates=1))
    monkeypatch.setattr(trainer, "_teach_critic", lambda *_: None)
    assert float(trainer.loss(*trainer.draw(0))) == pytest.approx(0, abs=1e-9)


def test_the_critic_learns_what_the_student_makes(student: TransformerTraining, teacher: str) -> None:
    trainer = MatchingDistiller(student, teacher, MatchingSettings(steps=2))
    before = trainer.critic.transformer.proj_out.weight.clone()
    student_before = trainer.transformer.proj_out.weight.clone()
    trainer.train_step()
    assert not torch.equal(before, trainer.critic.transformer.proj_out.weight)
    assert not torch.equal(student_before, trainer.transformer.proj_out.weight)


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_distillation_gives_the_same_student(
    student: TransformerTraining, teacher: str, method: str
) -> None:
    config = Distillation(teacher=teacher, method=method, training=replace(student, max_steps=4))
    whole = distill(config).state_dict()
    begun = replace(config, training=replace(config.training, run=student.run + "-2", max_steps=2))
    distill(begun)
    resumed = distill(replace(begun, training=replace(begun.training, max_steps=4, schedule=student.schedule)))
    folder = Path(begun.training.run) / "transformer"
    saved = GameCraftTransformer3DModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in resumed.state_dict().items())
    assert RunFolder(begun.training.run).records()[-1]["step"] == 4
    assert whole.keys() == resumed.state_dict().keys()
    sampling = json.loads((folder / "sampling.json").read_text())
    steps = {"guidance": student.evaluation.steps, "consistency": 4, "matching": 4}[method]
    assert sampling == {"shift": student.shift, "num_inference_steps": steps, "guidance_scale": 1.0}


def test_bad_settings_are_refused(student: TransformerTraining, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        distill(Distillation(teacher=str(tmp_path), method="guidance", training=student))
    with pytest.raises(InputError, match="multiple"):
        ConsistencySettings(phases=3, teacher_steps=8)
    with pytest.raises(InputError, match="lowest"):
        GuidanceSettings(lowest=3.0, highest=2.0)
    with pytest.raises(InputError, match="at least 1"):
        MatchingSettings(steps=0)
