from pathlib import Path

import pytest
import torch
from diffusers import HunyuanVideoTransformer3DModel

from gamecraft.errors import CheckpointError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from transformer_cases import ROPE_AXES, forward_case, golden, inputs, published_model


@pytest.fixture
def published_file(tmp_path: Path) -> Path:
    file = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": golden("dit_weights")}, file)
    return file


def test_a_published_file_is_loaded_directly(published_file: Path) -> None:
    model = GameCraftTransformer3DModel.from_single_file(published_file, rope_axes_dim=ROPE_AXES)
    assert not model.training
    expected = published_model()
    assert model.config == expected.config
    case = forward_case(9)
    rays = torch.zeros(2, 33, 6, 32, 48)
    with torch.no_grad():
        found, same = (m(**inputs(case), action_embeds=m.encode_actions(rays)).sample for m in (model, expected))
    assert torch.equal(found, same)


def test_the_action_encoder_keeps_its_type(published_file: Path) -> None:
    model = GameCraftTransformer3DModel.from_single_file(published_file, rope_axes_dim=ROPE_AXES, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if name.startswith("action_encoder") else torch.bfloat16), name


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"module": {"weight": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a published GameCraft transformer"):
        GameCraftTransformer3DModel.from_single_file(tmp_path / "other.pt")


def test_the_stock_class_is_not_touched() -> None:
    assert "weights" not in HunyuanVideoTransformer3DModel.from_single_file.__code__.co_varnames
