"""Networks compute in bfloat16 where the machine has instructions for it."""

import pytest
import torch
from torch import nn

from gamecraft.precision import autocast_dtype, compute_dtype, cpu_autocast, entering, quicken_gelu


@pytest.fixture(params=[True, False], ids=["with bfloat16", "without"])
def has_bfloat16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor, and whether it has instructions for bfloat16."""
    present = bool(request.param)
    capabilities = {"avx512_vnni": True, "avx512_bf16": present, "cpu_name": "a processor of bf16"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    return present


def test_a_processor_computes_in_what_it_has_instructions_for(has_bfloat16: bool) -> None:
    assert compute_dtype("auto") == (torch.bfloat16 if has_bfloat16 else torch.float32)
    assert autocast_dtype("auto") == (torch.bfloat16 if has_bfloat16 else None)
    with cpu_autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == compute_dtype("auto")


def test_what_is_asked_for_is_taken_whatever_the_machine(has_bfloat16: bool) -> None:
    assert compute_dtype("bf16") == torch.bfloat16
    assert autocast_dtype("fp32") is None


def test_other_devices_compute_in_bfloat16(has_bfloat16: bool) -> None:
    assert compute_dtype("auto", "cuda") == torch.bfloat16


@pytest.mark.parametrize("autocast", [torch.bfloat16, None])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_gelu_is_taken_itself_only_where_its_approximation_is_slower_and_no_closer(
    autocast: torch.dtype | None, device: str
) -> None:
    network = nn.Sequential(nn.GELU(approximate="tanh"))
    x = torch.linspace(-6, 6, 1001)
    before = network(x)
    quicken_gelu(network, autocast, device)
    difference = (network(x) - before).abs().max()
    assert (difference > 0) == (autocast is not None and device == "cpu")
    assert difference < 5e-4


def test_autocast_is_given_float32_and_other_networks_what_their_weights_are() -> None:
    class Network:
        dtype = torch.float16

    x = torch.ones(1, dtype=torch.float64)
    assert entering(x, Network(), None).dtype == torch.float16
    assert entering(x, Network(), torch.bfloat16).dtype == torch.float32
