import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gamecraft.checkpoints import (
    convert_transformer_from_official,
    convert_transformer_to_official,
    read_official_transformer,
)
from gamecraft.errors import CheckpointError
from gamecraft.models.transformer import GameCraftTransformer3DModel
from transformer_cases import GOLDENS, ROPE_AXES, golden, tiny_model


def released_tensors() -> dict[str, Tensor]:
    """The 865 names, types and shapes of the released 12.81 B checkpoint, without memory."""
    tensors = {}
    for pattern, facts in json.loads((GOLDENS / "dit_full_keys.json").read_text()).items():
        for number in range(facts["count"]):
            dtype = getattr(torch, facts["dtype"])
            tensors[pattern.replace("*", str(number))] = torch.empty(facts["shape"], dtype=dtype, device="meta")
    return tensors


def test_the_released_checkpoint_maps_one_to_one_onto_the_model() -> None:
    released = released_tensors()
    config, converted = convert_transformer_from_official(released)
    with torch.device("meta"):
        model = GameCraftTransformer3DModel(**config)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in converted.items()} == expected
    assert len(released) == 865
    assert sum(tensor.numel() for tensor in converted.values()) == 12_811_285_937
    back = convert_transformer_to_official(config, converted)
    assert {n: (t.dtype, t.shape) for n, t in back.items()} == {n: (t.dtype, t.shape) for n, t in released.items()}


def test_the_default_configuration_is_the_released_model() -> None:
    config, _ = convert_transformer_from_official(released_tensors())
    with torch.device("meta"):
        default = GameCraftTransformer3DModel().config
    assert {name: default[name] for name in config} == config


def test_there_and_back_gives_the_same_bits() -> None:
    weights = golden("dit_weights")
    config, converted = convert_transformer_from_official(weights, rope_axes_dim=ROPE_AXES)
    back = convert_transformer_to_official(config, converted)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.mark.parametrize("overrides", [{}, {"guidance_embeds": True, "mlp_ratio": 2.0, "spatial_ratio": 4}])
def test_back_and_there_gives_the_same_model(overrides: dict[str, object]) -> None:
    model = tiny_model(**overrides)
    official = convert_transformer_to_official(model.config, model.state_dict())
    config, converted = convert_transformer_from_official(official, rope_axes_dim=(4, 6, 6))
    assert {name: model.config[name] for name in config} == config
    assert all(torch.equal(converted[name], tensor) for name, tensor in model.state_dict().items())


def test_missing_and_unexpected_tensors_are_named() -> None:
    weights = dict(golden("dit_weights"))
    weights["img_in.proj.wheight"] = weights.pop("img_in.proj.bias")
    with pytest.raises(CheckpointError, match=r"1 missing: img_in\.proj\.bias; 1 unexpected: img_in\.proj\.wheight"):
        convert_transformer_from_official(weights, rope_axes_dim=ROPE_AXES)


def test_only_the_first_ten_names_are_listed() -> None:
    weights = golden("dit_weights") | {f"extra.{i:02}": torch.zeros(1) for i in range(12)}
    with pytest.raises(CheckpointError, match=r"12 unexpected: extra\.00, .*, extra\.09, \.\.\.$"):
        convert_transformer_from_official(weights, rope_axes_dim=ROPE_AXES)


def test_shapes_that_do_not_fit_are_named() -> None:
    weights = golden("dit_weights") | {"single_blocks.1.linear2.bias": torch.zeros(63)}
    with pytest.raises(CheckpointError, match=r"single_blocks\.1\.linear2\.bias \[63\] instead of \[64\]"):
        convert_transformer_from_official(weights, rope_axes_dim=ROPE_AXES)


def test_tensors_of_something_else_are_refused() -> None:
    with pytest.raises(CheckpointError, match="not a published GameCraft transformer"):
        convert_transformer_from_official({"encoder.weight": torch.zeros(1)})


def test_rotary_dimensions_that_do_not_fit_the_heads_are_refused() -> None:
    with pytest.raises(CheckpointError, match="heads have 32 dimensions"):
        convert_transformer_from_official(golden("dit_weights"))


def test_incomplete_weights_of_ours_are_refused() -> None:
    model = tiny_model()
    weights = model.state_dict()
    del weights["proj_out.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: proj_out\.bias"):
        convert_transformer_to_official(model.config, weights)


@pytest.mark.parametrize("entry", ["module", "ema"])
def test_reads_an_entry_of_a_published_file_or_folder(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": {"a": torch.zeros(1)}, "ema": {"a": torch.ones(1)}}, file)
    for path in (file, tmp_path):
        read = read_official_transformer(path, weights=entry)  # type: ignore[arg-type]
        assert read["a"].item() == (entry == "ema")


def test_an_absent_entry_is_named_with_what_there_is(tmp_path: Path) -> None:
    torch.save({"module": {"a": torch.zeros(1)}}, tmp_path / "x_model_states.pt")
    with pytest.raises(CheckpointError, match=r"expected an entry 'ema' with the tensors; found \['module'\]"):
        read_official_transformer(tmp_path, weights="ema")


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(CheckpointError, match=r"expected a \.pt file"):
            read_official_transformer(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError, match="not a readable weights-only torch file"):
        read_official_transformer(file)
