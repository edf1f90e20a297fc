"""The RAFT plug-in against a library of the same interface: sizes, range, and pixels of the pictures given."""

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gamecraft.curation import raft_flow
from gamecraft.curation.extras import load_plugin
from gamecraft.errors import GameCraftError

MODULES: dict[str, Any] = sys.modules


class Network:
    """Says that everything moved by 4 of its own pixels to the right and 2 down, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[torch.Tensor] = []

    def to(self, device: str) -> "Network":
        return self

    def eval(self) -> "Network":
        return self

    def __call__(self, before: torch.Tensor, after: torch.Tensor) -> list[torch.Tensor]:
        self.given = [before, after]
        flow = torch.tensor([4.0, 2.0])[None, :, None, None].expand(1, 2, *before.shape[2:])
        return [torch.zeros_like(flow), flow]


@pytest.fixture(autouse=True)
def _no_model_is_kept() -> Iterator[None]:
    yield
    raft_flow._model.cache_clear()


def test_flow_is_in_pixels_of_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    library = SimpleNamespace(raft_small=lambda weights: network, Raft_Small_Weights=SimpleNamespace(DEFAULT="some"))
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(MODULES, name, ModuleType(name))
    monkeypatch.setitem(MODULES, "torchvision.models.optical_flow", library)
    black, white = np.zeros((90, 160), np.uint8), np.full((90, 160), 255, np.uint8)
    found = load_plugin("gamecraft.curation.raft_flow:flow")(black, white)
    assert found.shape == (90, 160, 2)
    assert found.dtype == np.float32
    before, after = network.given
    assert before.shape == after.shape == (1, 3, 176, 320)
    assert (before == -1).all()
    assert (after == 1).all()
    np.testing.assert_allclose(found, np.broadcast_to([4 * 160 / 320, 2 * 90 / 176], found.shape), rtol=1e-6)


def test_without_torchvision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "torchvision.models.optical_flow", None)
    with pytest.raises(GameCraftError, match=r"RAFT needs torchvision.*pip install 'torchvision'"):
        raft_flow.flow(np.zeros((90, 160), np.uint8), np.zeros((90, 160), np.uint8))
