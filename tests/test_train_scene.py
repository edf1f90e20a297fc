"""Training with a memory of the scene: what batches show, what a model keeps, and how depths are learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gamecraft.dataset import ClipDataset
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.depth import DepthEstimator
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.chunk_batches import Dropping
from gamecraft.training.config import build_config, load_recipe
from gamecraft.training.depth import (
    DepthTraining,
    PosedFrames,
    WorldDepths,
    depth_loss,
    measure_depth,
    photometric_loss,
    train_depth,
)
from gamecraft.training.history_sampling import HistoryMix, OwnHistory
from gamecraft.training.optimizers import Schedule
from gamecraft.training.run import RunFolder
from gamecraft.training.trainer import Trainer
from gamecraft.training.transformer import TransformerTraining, train_transformer
from gamecraft.worlds.builder import build_scene
from gamecraft.worlds.recorder import RecordConfig, record_dataset
from gamecraft.worlds.true_depth import DepthCaster

CLIP_ALONE = HistoryMix(clip=1.0, clips=0.0, image=0.0)


@pytest.fixture
def seeing(training: TransformerTraining, tmp_path: Path) -> TransformerTraining:
    torch.manual_seed(0)
    DepthEstimator(channels=(8, 8), blocks=(1, 1)).save_pretrained(tmp_path / "depth")
    shape = replace(training.model, scene_trust=0.5)
    return replace(
        training, depth=str(tmp_path / "depth"), model=shape, history_mix=CLIP_ALONE, own_history=OwnHistory()
    )


# --- the transformer -------------------------------------------------------------------------------------------------


def test_batches_show_what_was_seen_but_not_to_the_unconditional(seeing: TransformerTraining) -> None:
    always = replace(seeing, dropping=Dropping(caption=1.0, action_with_caption=0.5), batch_size=8)
    batch, _, _ = Trainer(always).draw(0)
    assert batch.scene is not None
    assert batch.scene.latents.shape == batch.latents.shape
    blind = batch.unconditional
    assert 0 < int(blind.sum()) < 8
    assert not batch.scene.latents[blind].any()
    assert not batch.scene.coverage[blind].any()
    assert bool(batch.scene.coverage[~blind].flatten(1).any(dim=1).all())


def test_a_history_of_its_own_is_seen_as_the_model_made_it(seeing: TransformerTraining) -> None:
    true, own = (
        Trainer(replace(seeing, own_history=OwnHistory(share=share), older_view=0.0)).draw(0)[0] for share in (0.0, 1.0)
    )
    assert true.scene is not None
    assert own.scene is not None
    assert not torch.allclose(true.scene.latents, own.scene.latents)


def test_it_trains_and_a_fine_tune_keeps_the_trust(seeing: TransformerTraining) -> None:
    train_transformer(seeing)
    tuned = replace(
        seeing,
        run=seeing.run + "-tuned",
        init_from=str(Path(seeing.run) / "transformer"),
        model=replace(seeing.model, scene_trust=None),
    )
    assert train_transformer(tuned).config.scene_trust == 0.5
    assert GameCraftTransformer3DModel.from_pretrained(tuned.init_from).config.scene_trust == 0.5


def test_a_memory_needs_the_autoencoder(seeing: TransformerTraining) -> None:
    with pytest.raises(InputError, match="autoencoder"):
        replace(seeing, autoencoder=None)


# --- depths ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    record_dataset(RecordConfig(output=str(folder), worlds=2, clips_per_world=2, frames=40, height=48, width=80))
    return folder


@pytest.fixture
def config(worlds: Path, tmp_path: Path) -> DepthTraining:
    return DepthTraining(
        run=str(tmp_path / "run"),
        data=str(worlds),
        held_out=str(worlds),
        true_depths=True,
        channels=(8, 8),
        blocks=(1, 1),
        steps=6,
        batch_size=2,
        evaluate_every=3,
        checkpoint_seconds=0.0,
        compile=False,
    )


@pytest.mark.parametrize("true_depths", [True, False])
def test_a_killed_training_ends_as_one_that_was_not(
    config: DepthTraining, monkeypatch: pytest.MonkeyPatch, true_depths: bool
) -> None:
    config = replace(config, true_depths=true_depths)
    whole = train_depth(config).state_dict()
    interrupted = replace(config, run=config.run + "-killed")
    log = RunFolder.log

    def killed(run: RunFolder, record: dict[str, float]) -> None:
        if record["step"] == 6:
            raise MemoryError
        log(run, record)

    monkeypatch.setattr(RunFolder, "log", killed)
    with pytest.raises(MemoryError):
        train_depth(interrupted)
    monkeypatch.setattr(RunFolder, "log", log)
    resumed = train_depth(interrupted).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_recipe_is_the_default_configuration() -> None:
    task, values = load_recipe(Path(__file__).parent.parent / "recipes" / "mini_depth.yaml")
    assert task == "depth"
    recipe = build_config(DepthTraining, values)
    assert recipe == DepthTraining(run=recipe.run, data=recipe.data, held_out=recipe.held_out, true_depths=True)


def test_it_learns_depths(config: DepthTraining, worlds: Path) -> None:
    truth = WorldDepths(ClipDataset(worlds), limit=4, seed=1)
    pictures, depths = truth.batch(0, size=8)
    trained = train_depth(
        replace(
            config,
            steps=80,
            batch_size=4,
            evaluate_every=80,
            ema_decay=0.5,
            adam_rate=1e-2,
            schedule=Schedule(warmup_steps=5, cooldown_steps=20),
        )
    )
    untrained = DepthEstimator(channels=(8, 8), blocks=(1, 1))
    assert depth_loss(trained(pictures), depths) < 0.5 * depth_loss(untrained(pictures), depths)


def test_batches_depend_on_seed_and_number_alone(worlds: Path) -> None:
    first, second = (
        PosedFrames(ClipDataset(worlds), limit=4, seed=0).batch(3, size=4, neighbours=3, reach=6) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_true_depths_explain_neighbouring_frames_best(worlds: Path) -> None:
    clips, lens = ClipDataset(worlds), Intrinsics()
    data = PosedFrames(clips, limit=4, seed=0)
    middle, others = 20, np.array([14, 26])

    def walked(number: int) -> float:
        places = clips[data._chosen[number]].poses[others, :3, 3]
        return float(np.linalg.norm(places[1] - places[0]))

    number = max(range(4), key=walked)
    assert walked(number) > 0.5
    picture, around, moves = (part[None] for part in data.frames_at(number, middle, others))
    clip = clips[data._chosen[number]]
    caster = DepthCaster(build_scene(clip.world_seed))
    depth = torch.from_numpy(caster.inverse_depth(clip.poses[middle], lens, clips.height, clips.width))[None, None]
    right, near, far = (
        float(photometric_loss(depth * factor, picture, around, moves, lens, 0.0)) for factor in (1.0, 3.0, 0.3)
    )
    assert right < min(near, far)


def test_what_is_measured_is_the_moved_frame(worlds: Path) -> None:
    data = PosedFrames(ClipDataset(worlds), limit=4, seed=0)
    found = measure_depth(DepthEstimator(channels=(8, 8), blocks=(1, 1)), data, Intrinsics())
    assert found.keys() == {"psnr", "psnr_freeze", "coverage"}
    assert 0 < found["coverage"] <= 1
