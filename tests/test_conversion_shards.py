import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from gamecraft.conversion import sources
from gamecraft.conversion.component import Component, Step, renames, safetensors_files
from gamecraft.conversion.shards import describes_same, shard_names, write_safetensors
from gamecraft.conversion.sources import DTYPES, MappedSource, SafetensorsSource, open_weights
from gamecraft.errors import CheckpointError
from gamecraft.torch_files import load_torch_file

TENSORS = {
    "scale": torch.tensor(2.0, dtype=torch.float16),
    "weight": torch.arange(15.0).reshape(5, 3).to(torch.bfloat16),
    "mask": torch.tensor([True, False, True]),
    "bias": torch.arange(4.0),
    "count": torch.tensor([7]),
    "empty": torch.zeros(0, 4),
}


def metas(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in tensors.items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_a_file_written_tensor_by_tensor_is_one_of_safetensors(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_safetensors(file, metas(TENSORS), reversed(TENSORS.items()))
    assert_equal(load_file(file), TENSORS)
    assert describes_same(file, metas(TENSORS))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(DTYPES.values())), st.integers(0, 5)), max_size=8))
def test_every_mixture_of_types_is_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[torch.dtype, int]]
) -> None:
    tensors = {str(i): torch.arange(length).to(dtype) for i, (dtype, length) in enumerate(parts)}
    file = tmp_path_factory.mktemp("shards") / "model.safetensors"
    write_safetensors(file, metas(tensors), tensors.items())
    source = SafetensorsSource((file,))
    found = {name: source.read(name) for name in source.metas}
    assert {n: t.dtype for n, t in found.items()} == {n: t.dtype for n, t in tensors.items()}
    assert all(torch.equal(found[n].view(torch.uint8), t.view(torch.uint8)) for n, t in tensors.items())


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    fused = torch.arange(12.0).reshape(4, 3)
    tensors = {"rows": fused[1:3], "columns": fused.T}
    write_safetensors(tmp_path / "model.safetensors", metas(tensors), tensors.items())
    assert_equal(load_file(tmp_path / "model.safetensors"), tensors)


def test_an_interrupted_file_leaves_nothing(tmp_path: Path) -> None:
    def some() -> Iterator[tuple[str, Tensor]]:
        yield "bias", TENSORS["bias"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_safetensors(tmp_path / "model.safetensors", metas(TENSORS), some())
    assert not list(tmp_path.iterdir())


def test_other_names_shapes_or_types_are_not_the_same(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_safetensors(file, metas(TENSORS), TENSORS.items())
    for change in ({"bias": torch.zeros(5)}, {"bias": torch.zeros(4, dtype=torch.float64)}, {"more": torch.zeros(1)}):
        assert not describes_same(file, metas(TENSORS | change))


class Memory:
    """Tensors that are not on disk."""

    files = ()

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.metas = metas(tensors)

    def read(self, name: str) -> Tensor:
        return self.tensors[name]


def component(count: int) -> Component:
    """Tensors of 100 bytes."""
    source = Memory({str(i): torch.full((25,), float(i)) for i in range(count)})
    return Component(source=source, steps=renames({str(i): f"w{i}" for i in range(count)}))


@pytest.mark.parametrize(("limit", "sizes"), [(1000, [5]), (250, [2, 2, 1]), (10, [1] * 5)])
def test_files_hold_at_most_the_limit_unless_one_tensor_is_larger(tmp_path: Path, limit: int, sizes: list[int]) -> None:
    files, index = safetensors_files(component(5), tmp_path, "model", limit)
    assert [len(file.metas) for file in files] == sizes
    assert [file.path.name for file in files] == shard_names("model", len(sizes))
    if len(sizes) > 1:
        weight_map = json.loads(index)["weight_map"]
        assert weight_map == {name: file.path.name for file in files for name in file.metas}
        assert json.loads(index)["metadata"]["total_size"] == 500


def test_a_type_is_changed_for_floating_point_tensors_only() -> None:
    source = Memory({"a.w": torch.zeros(1), "b.w": torch.zeros(1), "ids": torch.zeros(1, dtype=torch.int64)})
    steps = renames({name: name for name in source.metas})
    changed = Component(source=source, steps=steps, dtype=torch.float16, float32=("b.",))
    expected = {"a.w": torch.float16, "b.w": torch.float32, "ids": torch.int64}
    assert {name: tensor.dtype for name, tensor in changed.tensors(steps)} == expected
    assert {name: meta.dtype for step in steps for name, meta in changed.metas(step).items()} == expected


def test_a_step_may_make_several_tensors_of_one() -> None:
    step = Step(inputs=("0",), outputs=("a", "b"), convert=lambda tensors: list(tensors[0].split([10, 15])))
    made = dict(component(1).tensors((step,)))
    assert {name: tensor.shape[0] for name, tensor in made.items()} == {"a": 10, "b": 15}


def test_all_forms_of_weights_in_a_folder_are_read(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
    single, sharded, pickled = (tmp_path / name for name in ("single", "sharded", "pickled"))
    for folder in (single, sharded, pickled):
        folder.mkdir()
    save_file(tensors, single / "model.safetensors")
    torch.save(tensors, pickled / "pytorch_model.bin")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name, file in weight_map.items():
        save_file({name: tensors[name]}, sharded / file)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for folder in (single, sharded, pickled):
        source = open_weights(folder, "model")
        assert_equal({name: source.read(name) for name in source.metas}, tensors)

    (sharded / weight_map["b"]).unlink()
    with pytest.raises(CheckpointError, match="1 of 2 shards missing: model-00002-of-00002"):
        open_weights(sharded, "model")
    (sharded / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match="not an index of safetensors shards"):
        open_weights(sharded, "model")
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors"):
        open_weights(tmp_path, "model")


def test_a_truncated_safetensors_file_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(100)}, file)
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="truncated, damaged or not a safetensors file") as error:
        open_weights(tmp_path, "model")
    assert "\n" not in str(error.value)


def test_a_mapped_file_is_mapped_again_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pt"
    torch.save({str(i): torch.full((100,), float(i)) for i in range(6)}, file)
    monkeypatch.setattr(sources, "REMAP_BYTES", 700)
    opened: list[object] = []

    def open_file() -> dict[str, Tensor]:
        opened.append(None)
        return dict(load_torch_file(file))

    source = MappedSource(file, open_file)
    assert [source.read(str(i))[0].item() for i in range(6)] == [0, 1, 2, 3, 4, 5]
    assert len(opened) == 3
