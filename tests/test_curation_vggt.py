"""The VGGT plug-in against a package of the same interface: conventions, key frames, confidence."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from gamecraft.curation import vggt_poses
from gamecraft.errors import GameCraftError
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState, invert

TRUE = np.stack([CameraState(position=(0.1 * i, 0.0, 0.2 * i), yaw=0.02 * i).pose() for i in range(10)])
KEYS = [0, 4, 8, 9]


class Network:
    """Knows the true cameras; a picture's brightness is its number."""

    def to(self, device: str) -> "Network":
        return self

    def eval(self) -> "Network":
        return self

    @classmethod
    def from_pretrained(cls, name: str) -> "Network":
        assert name == vggt_poses.MODEL
        return cls()

    def aggregator(self, pictures: torch.Tensor) -> tuple[list[torch.Tensor], int]:
        assert pictures.shape == (1, 4, 3, 294, 518)
        return [torch.zeros(1), pictures.mean(dim=(2, 3, 4)) * 255], 5

    def camera_head(self, tokens: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.zeros(1), tokens[-1]]

    def depth_head(self, tokens: list[torch.Tensor], pictures: torch.Tensor, start: int) -> tuple[None, torch.Tensor]:
        assert start == 5
        return None, torch.full((1, 4, 294, 518), 4.0)


def decode(code: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, None]:
    assert tuple(size) == (294, 518)
    return torch.from_numpy(invert(TRUE)[code[0].round().long().numpy(), :3])[None], None


def test_poses_are_camera_to_world_for_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"vggt.models.vggt": {"VGGT": Network}, "vggt.utils.pose_enc": {"pose_encoding_to_extri_intri": decode}}
    for name in ("vggt", "vggt.models", "vggt.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, contents in package.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**contents))  # type: ignore[arg-type]
    frames = np.tile(np.arange(10, dtype=np.uint8)[:, None, None, None], (1, 90, 160, 3))
    poses, confidence = vggt_poses.estimate(frames, Intrinsics())
    np.testing.assert_allclose(poses[KEYS], TRUE[KEYS], atol=1e-6)
    np.testing.assert_allclose(poses, TRUE, atol=0.01)
    assert confidence == pytest.approx(0.75)


def test_without_the_package_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vggt", None)
    with pytest.raises(GameCraftError, match="VGGT poses needs vggt"):
        vggt_poses.estimate(np.zeros((2, 90, 160, 3), np.uint8), Intrinsics())
