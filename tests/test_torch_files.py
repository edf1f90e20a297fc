import argparse
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

import gamecraft.torch_files
from gamecraft.errors import CheckpointError
from gamecraft.torch_files import load_torch_file, write_torch_file

TENSORS = {
    "a": torch.arange(12.0).reshape(3, 4),
    "b": torch.arange(5).to(torch.bfloat16),
    "scalar": torch.tensor(3),
}
METAS = {name: tensor.to("meta") for name, tensor in TENSORS.items()}


def assert_equal(found: dict[str, Tensor]) -> None:
    assert list(found) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("remap_bytes", [1, 1 << 30])
@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_written_tensor_by_tensor_is_one_of_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remap_bytes: int, mmap: bool
) -> None:
    monkeypatch.setattr(gamecraft.torch_files, "REMAP_BYTES", remap_bytes)
    file = tmp_path / "weights.pt"
    write_torch_file(
        file,
        METAS,
        reversed(TENSORS.items()),
        nest=lambda tensors: {"module": tensors},
        unnest=lambda content: content["module"],
    )
    assert_equal(torch.load(file, weights_only=True, mmap=mmap)["module"])
    assert list(tmp_path.iterdir()) == [file]


def test_an_interrupted_file_leaves_nothing(tmp_path: Path) -> None:
    def some() -> Iterator[tuple[str, Tensor]]:
        yield "a", TENSORS["a"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_torch_file(tmp_path / "weights.pt", METAS, some())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_are_read(tmp_path: Path, zipped: bool) -> None:
    torch.save(TENSORS, tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
    assert_equal(load_torch_file(tmp_path / "weights.pt"))


def test_views_and_shared_storage_are_read(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    content = {"views": [whole[1:3, ::2], whole.T], "none": torch.empty(0), "step": 7, "nested": ({"b": whole.int()},)}
    torch.save(content, tmp_path / "weights.pt")
    found = load_torch_file(tmp_path / "weights.pt")
    assert torch.equal(found["views"][0], whole[1:3, ::2])
    assert torch.equal(found["views"][1], whole.T)
    assert (found["none"].shape, found["step"]) == ((0,), 7)
    assert torch.equal(found["nested"][0]["b"], whole.int())
    assert found["views"][0].untyped_storage().data_ptr() == found["views"][1].untyped_storage().data_ptr()


def test_what_is_changed_in_memory_does_not_change_the_file(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "weights.pt")
    (tmp_path / "weights.pt").chmod(0o444)
    load_torch_file(tmp_path / "weights.pt")["a"].zero_()
    assert_equal(load_torch_file(tmp_path / "weights.pt"))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_file_larger_than_memory_is_mapped(tmp_path: Path) -> None:
    """Of such a size that Linux refuses to reserve it; the file has holes where the zeros would be."""
    size = psutil.virtual_memory().total + psutil.swap_memory().total + (4 << 30)
    file = tmp_path / "weights.pt"
    write_torch_file(file, {"a": torch.empty(size // 4, device="meta")}, ())
    assert file.stat().st_blocks * 512 < 1 << 24
    tensor = load_torch_file(file)["a"]
    assert tensor.shape == (size // 4,)
    assert tensor[:: size // 16].sum() == 0


@pytest.mark.parametrize("content", [{"module": TENSORS, "args": argparse.Namespace(a=1)}, {"f": print}])
def test_a_pickle_that_wants_more_than_tensors_is_refused_in_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"its pickle asks for '[\w.]*(Namespace|print)'") as error:
        load_torch_file(tmp_path / "weights.pt")
    assert "\n" not in str(error.value)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"module": {"a": torch.zeros(30_000)}}, file)
    whole = file.read_bytes()
    start = whole.find(b"module")
    for damaged in (
        b"",
        bytes(1000),
        whole[:60_000],
        whole[:1000] + whole[5000:],
        whole[:start] + b"\xff\xfe" + whole[start + 2 :],
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 26\n",
        pickle.dumps({"a": 1}, protocol=2)[:-3],
    ):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="truncated, damaged or of another kind") as error:
            load_torch_file(file)
        assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: no such file"):
        load_torch_file(tmp_path / "none.pt")
