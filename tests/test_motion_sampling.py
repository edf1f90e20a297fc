"""Which clips are drawn: evenly over kinds of motion, backwards too."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from gamecraft.dataset import ClipDataset, ClipWriter
from gamecraft.errors import InputError
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.training.chunk_batches import ChunkSampler, Dropping
from gamecraft.training.history_sampling import HistoryMix
from gamecraft.training.latents import LatentDataset, encode_dataset
from gamecraft.training.motion_sampling import ClipOrder, MotionSampling, kinds_of_motion
from gamecraft.trajectory import integrate
from training_cases import clip_records

FORWARD, RIGHT = (0.0, 0.0, 0.1, 0.0, 0.0), (0.1, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory, pipe: GameCraftPipeline) -> Path:
    """Eight clips that walk forward and two that walk to the right, encoded forth and back."""
    folder = tmp_path_factory.mktemp("walks")
    records = clip_records(10, 18)
    for number, record in enumerate(records):
        poses, _ = integrate(np.tile(FORWARD if number < 8 else RIGHT, (18, 1)))
        object.__setattr__(record, "poses", poses)
    ClipWriter(folder, fps=24, height=32, width=48).write(0, records)
    for backwards in (False, True):
        encode_dataset(pipe.vae, folder, "tiny", backwards=backwards)
    return folder


@pytest.fixture(scope="module")
def both(walks: Path) -> list[LatentDataset]:
    return [LatentDataset(walks, "tiny"), LatentDataset(walks, "tiny", backwards=True)]


def test_clips_played_backwards_move_the_other_way(walks: Path, both: list[LatentDataset]) -> None:
    forth, back = both
    assert Counter(kinds_of_motion(forth)) == {"forward, straight": 8, "right, straight": 2}
    assert Counter(kinds_of_motion(back)) == {"back, straight": 8, "left, straight": 2}
    clip, mirrored = ClipDataset(walks)[3], ClipDataset(walks, backwards=True)[3]
    np.testing.assert_array_equal(clip.frames()[::-1], mirrored.frames())
    np.testing.assert_array_equal(clip.poses[::-1], mirrored.poses)
    chunk = back.chunk(3, 3, history=1)
    np.testing.assert_array_equal(chunk.poses, clip.poses[::-1][9:18])
    np.testing.assert_array_equal(chunk.history_poses[0], clip.poses[::-1][:9])
    assert not torch.equal(chunk.latents, forth.chunk(3, 3).latents)


def test_an_even_epoch_has_equal_shares_and_all_clips_come_in_time(both: list[LatentDataset]) -> None:
    order = ClipOrder(both, MotionSampling(size=0.8, reverse=True), seed=0)
    assert order.epoch_size == 8
    kinds = [kinds_of_motion(dataset) for dataset in both]
    seen = set()
    for epoch in range(30):
        drawn = order.clips(epoch * 8, 8)
        assert len(set(drawn)) == 8
        assert set(Counter(kinds[both.index(dataset)][clip] for dataset, clip in drawn).values()) == {2}
        seen.update((both.index(dataset), clip) for dataset, clip in drawn)
    assert len(seen) == 20
    again = ClipOrder(both, MotionSampling(size=0.8, reverse=True), seed=0)
    assert again.clips(5, 11) == order.clips(5, 11)


def test_without_settings_every_recording_is_drawn_once_in_an_epoch(both: list[LatentDataset]) -> None:
    order = ClipOrder(both[:1], MotionSampling(), seed=3)
    assert sorted(clip for _, clip in order.clips(0, 10)) == list(range(10))
    assert ClipOrder(both, MotionSampling(reverse=True), seed=3).epoch_size == 20


def test_batches_are_drawn_in_that_order(both: list[LatentDataset]) -> None:
    settings = MotionSampling(size=0.8, reverse=True)
    sampler = ChunkSampler(
        both[0], batch_size=4, seed=0, mix=HistoryMix(clip=1.0, clips=0.0, image=0.0), history_noise=0.0,
        dropping=Dropping(caption=0.0), motion=settings, backwards=both[1],
    )  # fmt: skip
    batch = sampler.draw(0, sampler.generator(0))
    wanted = [dataset.clip(clip) for dataset, clip in ClipOrder(both, settings, 0).clips(0, 4)]
    for poses, clip in zip(batch.poses, wanted, strict=True):
        np.testing.assert_array_equal(poses, clip.poses[9:18])


def test_wrong_sizes_and_missing_latents_are_told(walks: Path) -> None:
    with pytest.raises(InputError, match=r"motion\.size is 1\.5, expected above 0 to 1"):
        MotionSampling(size=1.5)
    with pytest.raises(InputError, match="--backwards"):
        LatentDataset(walks, "other", backwards=True)
