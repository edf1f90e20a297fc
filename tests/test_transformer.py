from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.models.rotary import grid_positions
from gamecraft.models.transformer import GameCraftTransformer3DModel, linear_velocity, trim_text
from transformer_cases import chunk_rays, forward_case, inputs, published_model, tiny_inputs, tiny_model


def assert_parity(actual: Tensor, recorded: Tensor) -> None:
    torch.testing.assert_close(actual, recorded, atol=2e-5, rtol=1e-4)


def actions(latents: int) -> Tensor:
    tokens: Tensor = published_model().encode_actions(chunk_rays(), num_history_latents=latents - 9)
    return tokens


# --- parity with the published model -------------------------------------------------------------------------------


@pytest.mark.parametrize("latents", [9, 10, 18])
def test_equals_the_published_forward(latents: int) -> None:
    case = forward_case(latents)
    sample = published_model()(**inputs(case), action_embeds=actions(latents)).sample
    assert_parity(sample, case["out"])


@pytest.mark.parametrize("latents", [9, 10, 18])
def test_rotary_tables_equal_the_published_ones(latents: int) -> None:
    case = forward_case(latents)
    positions = grid_positions(*(size // patch for size, patch in zip(case["x"].shape[2:], (1, 2, 2), strict=True)))
    for table, expected in zip(published_model().rope(positions), (case["cos"], case["sin"]), strict=True):
        torch.testing.assert_close(table[:, 0], expected, atol=2e-6, rtol=1e-5)


def test_intermediate_tensors_equal_the_published_ones() -> None:
    model, case, seen = published_model(), forward_case(10), {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            seen[name] = (args[0], output)

        return hook

    modules = (model.transformer_blocks[0], model.single_transformer_blocks[0], model.context_embedder)
    handles = [
        module.register_forward_hook(keep(name))
        for module, name in zip(modules, ("dual", "single", "text"), strict=True)
    ]
    model(**inputs(case), action_embeds=actions(10))
    for handle in handles:
        handle.remove()
    assert_parity(seen["text"][1][:, :5], case["mid.txt_in"][:, :5])
    assert_parity(seen["dual"][0], case["mid.img_after_camera"])
    assert_parity(seen["dual"][1][0], case["mid.double_blocks.0.img"])
    assert_parity(seen["single"][1][0], case["mid.single_blocks.0"][:, :60])


# --- text of different lengths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, torch.ones(2, 12, dtype=torch.int64)])
def test_no_mask_and_a_full_mask_equal_the_published_full_mask(mask: Tensor | None) -> None:
    case = forward_case(10)
    sample = published_model()(**inputs(case, encoder_attention_mask=mask), action_embeds=actions(10)).sample
    assert_parity(sample, case["fullmask.out"])


def test_an_item_alone_equals_the_published_single_item() -> None:
    case = forward_case(10)
    sample = published_model()(**inputs(case, slice(1, 2)), action_embeds=actions(10)[1:]).sample
    assert_parity(sample, case["single.out"])


def test_an_item_gives_the_same_alone_and_beside_a_longer_prompt() -> None:
    case = forward_case(10)
    alone = published_model()(**inputs(case, slice(0, 1)), action_embeds=actions(10)[:1]).sample
    assert_parity(alone, case["out"][:1])


def test_padding_never_reaches_an_image_token() -> None:
    case = forward_case(10)
    garbage = case["text_states"] + 1000 * (case["text_mask"] == 0)[..., None]
    sample = published_model()(**inputs(case, encoder_hidden_states=garbage), action_embeds=actions(10)).sample
    assert_parity(sample, case["out"])


@pytest.mark.parametrize(("lengths", "reaches"), [((5, 5), False), ((3, 3), False), ((5, 3), True)])
def test_attention_gets_a_mask_only_for_lengths_that_differ(lengths: tuple[int, int], reaches: bool) -> None:
    model = tiny_model()
    masks: list[Tensor | None] = []
    for block in (*model.transformer_blocks, *model.single_transformer_blocks):
        block.register_forward_pre_hook(lambda module, args: masks.append(args[3]))
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    model(**(tiny_inputs(model, batch=2) | {"encoder_attention_mask": mask}))
    assert [m is not None for m in masks] == [reaches] * 2


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_trimming_cuts_to_the_longest_prompt(lengths: list[int]) -> None:
    embeds = torch.randn(len(lengths), 7, 2)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    trimmed, rest = trim_text(embeds, mask.long())
    assert torch.equal(trimmed, embeds[:, : max(lengths)])
    assert (rest is None) == (len(set(lengths)) == 1)
    assert rest is None or rest.sum(dim=1).tolist() == lengths


@pytest.mark.parametrize("mask", [[[0, 1, 1]], [[1, 0, 1]], [[0, 0, 0]], [[1, 1]]])
def test_text_masks_without_a_meaning_are_refused(mask: list[list[int]]) -> None:
    with pytest.raises(InputError, match="expected"):
        trim_text(torch.zeros(1, 3, 2), torch.tensor(mask))


# --- actions of the history ----------------------------------------------------------------------------------------


def test_zero_history_is_the_feature_of_zero_rays_repeated() -> None:
    model, rays = tiny_model(), torch.randn(2, 5, 6, 32, 32)
    zero, new = model.action_encoder(torch.zeros(2, 9, 6, 32, 32)), model.action_encoder(rays)
    torch.testing.assert_close(model.encode_actions(rays, num_history_latents=3), torch.cat([zero, new], dim=1))


def test_true_history_is_encoded_clip_by_clip() -> None:
    model, rays = tiny_model(history_rays="true"), torch.randn(2, 5, 6, 32, 32)
    image, chunk = torch.randn(2, 1, 6, 32, 32), torch.randn(2, 9, 6, 32, 32)
    expected = torch.cat([model.action_encoder(clip) for clip in (image, chunk, rays)], dim=1)
    assert torch.equal(model.encode_actions(rays, history_rays=[image, chunk]), expected)


def test_history_of_the_wrong_kind_is_refused() -> None:
    rays = torch.zeros(1, 1, 6, 32, 32)
    with pytest.raises(InputError, match="give num_history_latents"):
        tiny_model().encode_actions(rays, history_rays=[rays])
    with pytest.raises(InputError, match="give the rays of the history clips"):
        tiny_model(history_rays="true").encode_actions(rays, num_history_latents=1)


def test_actions_of_the_chunk_alone_are_refused_when_there_is_history() -> None:
    model = tiny_model()
    arguments = tiny_inputs(model)
    with pytest.raises(InputError, match=r"expected \[1, 16, 32\]"):
        model(**(arguments | {"action_embeds": arguments["action_embeds"][:, 4:]}))


# --- what diffusers and torch offer keeps working ------------------------------------------------------------------


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    model = tiny_model().train()
    gradients = []
    for switch in (model.disable_gradient_checkpointing, model.enable_gradient_checkpointing):
        switch()
        model.zero_grad()
        model(**tiny_inputs(model)).sample.square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(grad is not None for grad in gradients[0].values())
    torch.testing.assert_close(*gradients)


def test_compiles_to_one_graph_with_and_without_a_mask() -> None:
    model = tiny_model().requires_grad_(False)
    compiled: Callable[..., Any] = torch.compile(model, backend="eager", fullgraph=True)
    arguments = tiny_inputs(model, batch=2)
    for mask in (None, torch.arange(5) < torch.tensor([[2], [4]])):
        arguments["encoder_attention_mask"] = mask
        torch.testing.assert_close(compiled(**arguments).sample, model(**arguments).sample)


def test_first_block_cache_keeps_the_guidance_branches_apart() -> None:
    model = tiny_model(num_layers=2).requires_grad_(False)
    arguments = tiny_inputs(model)
    other = arguments | {"encoder_hidden_states": -arguments["encoder_hidden_states"]}
    expected = [model(**a).sample for a in (arguments, other)]
    model.enable_cache(FirstBlockCacheConfig(threshold=1e-6))
    for _ in range(2):
        for name, a, want in zip(("cond", "uncond"), (arguments, other), expected, strict=True):
            with model.cache_context(name):
                torch.testing.assert_close(model(**a).sample, want)


def test_saves_and_loads_with_the_action_encoder_in_float32(tmp_path: Path) -> None:
    model = tiny_model(history_rays="true")
    model.save_pretrained(tmp_path)
    same = GameCraftTransformer3DModel.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    assert same.config.history_rays == "true"
    half = GameCraftTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert {p.dtype for p in half.action_encoder.parameters()} == {torch.float32}


def test_runs_in_bfloat16_and_with_float8_storage(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    half = GameCraftTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).requires_grad_(False)
    arguments = {
        name: value.bfloat16() if isinstance(value, Tensor) and name != "timestep" else value
        for name, value in tiny_inputs(half).items()
    }
    expected = half(**arguments).sample
    assert expected.dtype == torch.bfloat16
    half.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    assert half.transformer_blocks[0].ff.net[2].weight.dtype == torch.float8_e4m3fn
    assert half.action_encoder.conv_in.weight.dtype == torch.float32
    torch.testing.assert_close(half(**arguments).sample, expected, atol=0.1, rtol=0.1)


def test_parallel_plan_names_modules_that_exist() -> None:
    modules = dict(tiny_model().named_modules())
    assert set(GameCraftTransformer3DModel._cp_plan) <= set(modules)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"in_channels": 4}, "expected 2 \\* out_channels \\+ 1 = 5"),
        ({"rope_axes_dim": (4, 4, 4)}, "must sum to attention_head_dim 16"),
        ({"history_rays": "none"}, "expected 'zero' or 'true'"),
    ],
)
def test_configurations_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_model(**wrong)


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_linear_velocity_is_the_least_squares_guess(sigma: float) -> None:
    """For clean latents of variance 1: its error is uncorrelated with the noisy latents and has variance 1/d."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(1, 1, 1, 500, 1000, generator=generator) for _ in range(2))
    noisy = (1 - sigma) * clean + sigma * noise
    guess = linear_velocity(noisy, torch.zeros_like(noisy), torch.tensor([sigma]))
    error = (noise - clean) - guess
    assert abs(float((error * noisy).mean())) < 0.01
    assert abs(float(error.var()) * ((1 - sigma) ** 2 + sigma**2) - 1) < 0.01


def test_residual_prediction_adds_the_linear_velocity() -> None:
    plain, residual = (tiny_model(prediction=kind) for kind in ("velocity", "residual"))
    residual.load_state_dict(plain.state_dict())
    given_inputs = tiny_inputs(plain)
    with torch.no_grad():
        output, result = plain(**given_inputs).sample, residual(**given_inputs).sample
    noisy = given_inputs["hidden_states"][:, : plain.config.out_channels]
    torch.testing.assert_close(result, linear_velocity(noisy, output, given_inputs["timestep"] / 1000))


def test_actions_beside_the_channels_are_another_layer_and_reach_the_output() -> None:
    published, beside = tiny_model(), tiny_model(action_fusion="channels")
    added = set(beside.state_dict()) ^ set(published.state_dict())
    assert added == {"fuse_actions.weight", "fuse_actions.bias"}
    width = beside.config.num_attention_heads * beside.config.attention_head_dim
    with torch.no_grad():
        beside.load_state_dict(published.state_dict(), strict=False)
        beside.fuse_actions.weight.copy_(torch.eye(width).repeat(1, 2))  # the sum, as published
        beside.fuse_actions.bias.zero_()
        given_inputs = tiny_inputs(published)
        torch.testing.assert_close(beside(**given_inputs).sample, published(**given_inputs).sample)
        beside.fuse_actions.weight[:, width:] = 0
        assert not torch.allclose(beside(**given_inputs).sample, published(**given_inputs).sample)
    with pytest.raises(InputError, match="'add' or 'channels'"):
        tiny_model(action_fusion="tokens")
