"""The mix of histories: its proportions, the chunks that can have each kind, and the noise on them."""

import pytest
import torch

from gamecraft.errors import InputError
from gamecraft.training.history_sampling import (
    STRIDES_PER_CHUNK,
    HistoryKind,
    HistoryMix,
    corrupt,
    first_chunk,
    history_clips,
    sample_kind,
)


def test_kinds_come_in_the_published_proportions() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [sample_kind(HistoryMix(), generator) for _ in range(4000)]
    shares = {kind: draws.count(kind) / len(draws) for kind in HistoryKind}
    assert shares == pytest.approx({"clip": 0.70, "clips": 0.05, "image": 0.25}, abs=0.02)


@pytest.mark.parametrize("kind", list(HistoryKind))
def test_a_share_of_one_leaves_nothing_else(kind: HistoryKind) -> None:
    mix = HistoryMix(**{other.value: float(other is kind) for other in HistoryKind})
    generator = torch.Generator().manual_seed(0)
    assert {sample_kind(mix, generator) for _ in range(50)} == {kind}


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.5, -0.5, 0.0)])
def test_shares_must_sum_to_one(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="sum to 1"):
        HistoryMix(clip=shares[0], clips=shares[1], image=shares[2])


@pytest.mark.parametrize("kind", list(HistoryKind))
def test_the_first_chunk_has_its_whole_history_in_the_recording(kind: HistoryKind) -> None:
    first = first_chunk(kind)
    assert first - history_clips(kind) * STRIDES_PER_CHUNK >= 0
    assert first >= 1, "an image is the frame before the chunk"


def test_noise_is_bounded_and_differs_between_samples() -> None:
    latents = torch.zeros(64, 4, 3, 6, 6)
    noisy = corrupt(latents, 0.15, torch.Generator().manual_seed(0))
    strengths = noisy.flatten(1).std(dim=1)
    assert float(strengths.max()) < 0.15 * 1.2
    assert float(strengths.mean()) == pytest.approx(0.075, abs=0.02)
    assert float(strengths.std()) > 0.02


def test_no_noise_leaves_the_latents_alone() -> None:
    latents = torch.randn(2, 4, 3, 2, 2)
    assert corrupt(latents, 0.0, torch.Generator()) is latents
