"""Muon is the published one, every parameter has one optimizer, and the learning rate takes its course."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gamecraft.errors import InputError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.training.optimizers import (
    Muon,
    MuonAdamW,
    Schedule,
    learning_rate_factor,
    orthogonalize,
    split_parameters,
)

SHAPES = ((8, 8), (16, 8), (8, 24), (8, 8))


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(weights: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)


def test_steps_are_those_of_torch() -> None:
    ours, theirs = parameters(), parameters()
    muon = Muon(ours, lr=0.02, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95)
    for step in range(3):
        for weights, optimizer in ((ours, muon), (theirs, reference)):
            give_gradients(weights, step)
            optimizer.step()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, atol=2e-3, rtol=0)  # both iterate in bfloat16


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(2, 12))
def test_singular_values_come_near_one_and_vectors_stay(rows: int, columns: int) -> None:
    rank = min(rows, columns)
    u = torch.linalg.qr(torch.randn(rows, rank)).Q
    v = torch.linalg.qr(torch.randn(columns, rank)).Q
    matrix = u @ torch.diag(torch.linspace(0.5, 1, rank)) @ v.T
    result = u.T @ orthogonalize(matrix[None])[0].float() @ v
    assert (result.diagonal() > 0.5).all()
    assert (result.diagonal() < 1.4).all()
    assert (result - torch.diag(result.diagonal())).abs().max() < 0.1


def test_convolutions_are_taken_as_matrices() -> None:
    kernel, matrix = nn.Parameter(torch.ones(4, 2, 3, 3)), nn.Parameter(torch.ones(4, 18))
    gradient = torch.randn(4, 18, generator=torch.Generator().manual_seed(0))
    kernel.grad, matrix.grad = gradient.reshape(4, 2, 3, 3), gradient
    for weight in (kernel, matrix):
        Muon([weight], lr=0.1).step()
    assert torch.equal(kernel.flatten(1), matrix)


def test_every_parameter_has_one_optimizer_and_modulation_is_left_to_adamw() -> None:
    model = GameCraftTransformer3DModel(
        in_channels=5, out_channels=2, num_attention_heads=1, attention_head_dim=16, num_layers=1, num_single_layers=1,
        rope_axes_dim=(4, 6, 6), text_embed_dim=8, pooled_projection_dim=8,
    )  # fmt: skip
    hidden, other = split_parameters(model)
    assert {id(p) for p in (*hidden, *other)} == {id(p) for p in model.parameters()}
    assert len(hidden) + len(other) == len(list(model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("blocks" in names[id(p)] and ".norm" not in names[id(p)] for p in hidden)
    assert any(names[id(p)].endswith("to_q.weight") for p in hidden)


def test_a_restored_state_continues_with_the_same_steps() -> None:
    def optimizer(weights: list[nn.Parameter]) -> MuonAdamW:
        return MuonAdamW(weights[:3], weights[3:], muon_rate=0.01, adam_rate=1e-3)

    first = parameters()
    whole = optimizer(first)
    give_gradients(first, 0)
    whole.step(0.5)
    second = [nn.Parameter(weight.detach().clone()) for weight in first]
    restored = optimizer(second)
    restored.load_state_dict(copy.deepcopy(whole.state_dict()))  # as from a file
    for weights, one in ((first, whole), (second, restored)):
        give_gradients(weights, 1)
        one.step(0.7)
        assert all(weight.grad is None for weight in weights)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_restored_state_keeps_the_peak_rates_of_the_new_run() -> None:
    weights = parameters()
    old = MuonAdamW(weights[:3], weights[3:], muon_rate=0.01, adam_rate=1e-3, weight_decay=0.5)
    new = MuonAdamW(weights[:3], weights[3:], muon_rate=0.02, adam_rate=2e-3)
    give_gradients(weights, 0)
    old.step()
    new.load_state_dict(old.state_dict())
    give_gradients(weights, 1)
    new.step(0.5)
    assert [group["lr"] for group in new.muon.param_groups] == [0.01]
    assert [group["lr"] for group in new.adamw.param_groups] == [1e-3, 1e-3]
    assert {group["weight_decay"] for group in new.adamw.param_groups} == {0.0}


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 50), st.integers(0, 400), st.sampled_from(["trapezoid", "cosine"]))
def test_the_factor_is_positive_and_at_most_one(steps: int, warmup: int, cooldown: int, shape: str) -> None:
    schedule = Schedule(shape=shape, warmup_steps=warmup, cooldown_steps=cooldown)  # type: ignore[arg-type]
    factors = [learning_rate_factor(step, steps, schedule) for step in range(steps)]
    assert min(factors) > 0
    assert max(factors) <= 1
    assert learning_rate_factor(steps, steps, schedule) == pytest.approx(0)


def test_the_trapezoid_rises_stays_and_falls_linearly() -> None:
    schedule = Schedule(warmup_steps=4, cooldown_steps=9)
    factors = [learning_rate_factor(step, 100, schedule) for step in range(100)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(factors[4:91]) == {1.0}
    assert factors[91:] == pytest.approx([left / 10 for left in range(9, 0, -1)])


def test_negative_steps_are_refused() -> None:
    with pytest.raises(InputError):
        Schedule(warmup_steps=-1)
