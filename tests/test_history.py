import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecraft.errors import InputError
from gamecraft.history import History, model_input


def poses(frames: int, x: float = 0.0) -> np.ndarray:
    tracks = np.tile(np.eye(4), (frames, 1, 1))
    tracks[:, 0, 3] = x + np.arange(frames)
    return tracks


def clip(latents: int, value: float = 1.0) -> torch.Tensor:
    return torch.full((1, 2, latents, 3, 4), value)


def start() -> History:
    return History(clips=(clip(1),), poses=(poses(1),))


def test_an_image_start_is_one_clip_of_one_latent() -> None:
    assert start().num_latents == 1
    assert np.array_equal(start().last_pose, np.eye(4))


def test_append_keeps_the_newest_clips_and_leaves_the_old_history_alone() -> None:
    first = start()
    second = first.append(clip(3, 2.0), poses(9, 10.0), max_clips=2)
    third = second.append(clip(3, 3.0), poses(9, 20.0), max_clips=2)
    assert [h.num_latents for h in (first, second, third)] == [1, 4, 6]
    assert [c.mean().item() for c in third.clips] == [2.0, 3.0]
    assert third.last_pose[0, 3] == 28.0
    assert third.truncate(1).num_latents == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.clips = ()  # type: ignore[misc]


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3), new=st.integers(1, 3))
def test_input_is_latents_condition_mask_with_the_history_first(lengths: list[int], new: int) -> None:
    history = History(
        clips=tuple(clip(n, float(i + 2)) for i, n in enumerate(lengths)),
        poses=tuple(poses(4 * n - 3) for n in lengths),
    )
    noisy = torch.randn(1, 2, new, 3, 4)
    latents, condition, mask = torch.split_with_sizes(model_input(noisy, history), [2, 2, 1], dim=1)
    past = sum(lengths)
    assert torch.equal(latents, torch.cat([*history.clips, noisy], dim=2))
    assert torch.equal(condition[:, :, :past], history.latents)
    assert not condition[:, :, past:].any()
    assert mask[0, 0, :, 0, 0].tolist() == [1.0] * past + [0.0] * new


def test_input_has_the_type_of_the_noise_and_carries_its_gradient() -> None:
    noisy = torch.randn(1, 2, 3, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    result = model_input(noisy, start())
    assert result.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(result.sum(), noisy)
    assert bool((gradient == 1).all())


def test_batch_items_may_have_their_own_poses() -> None:
    batch = History(clips=(clip(3).expand(2, -1, -1, -1, -1),), poses=(np.stack([poses(9), poses(9, 5.0)]),))
    assert batch.last_pose[:, 0, 3].tolist() == [8.0, 13.0]


@pytest.mark.parametrize(
    ("clips", "tracks", "message"),
    [
        ((), (), "at least one clip"),
        ((clip(1),), (), "1 clips and 0 pose tracks"),
        ((clip(1)[0],), (poses(1),), r"expected \[B, C, t, h, w\]"),
        ((clip(1), clip(1)[..., :2]), (poses(1), poses(1)), "only t may differ"),
        ((clip(1),), (np.eye(4),), r"expected \[\.\.\., frames, 4, 4\]"),
        ((clip(3),), (poses(8),), "3 latents but 8 poses"),
        ((clip(1),), (poses(5),), "1 latents but 5 poses"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    clips: tuple[torch.Tensor, ...], tracks: tuple[np.ndarray, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        History(clips=clips, poses=tracks)


def test_noise_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="differ in more than time"):
        model_input(torch.zeros(1, 2, 3, 3, 5), start())


def test_a_history_is_never_empty() -> None:
    with pytest.raises(InputError, match="at least one clip"):
        start().truncate(0)
