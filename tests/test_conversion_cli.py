import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gamecraft.cli import main
from gamecraft.conversion.cli import add_arguments, parse_size, run
from gamecraft.conversion.layout import LLAVA_FOLDER, TRANSFORMER_FILES
from gamecraft.errors import CheckpointError, InputError
from published_folder import ROPE_AXES, published_transformer, write_published_folder

STANDARD = TRANSFORMER_FILES["standard"]


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([*map(str, arguments)]))


def test_a_folder_is_converted_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published = write_published_folder(tmp_path / "weights")
    there = (published, tmp_path / "model", "--rope-axes", *ROPE_AXES, "--dtype", "bf16")
    assert command(*there, "--max-shard-size", "300KB") == 0
    assert (tmp_path / "model" / "model_index.json").is_file()
    assert command(tmp_path / "model", tmp_path / "back", "--to", "official") == 0
    assert (tmp_path / "back" / "gamecraft_models" / "mp_rank_00_model_states.pt").is_file()
    assert "4 weight files" in capsys.readouterr().out
    assert command(tmp_path / "model", tmp_path / "back", "--to", "official") == 0  # nothing left to do


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a published weights folder"):
        command(tmp_path / "none", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("text", "size"), [("5GB", 5 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29)])
def test_sizes_are_understood(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "GB", "-5GB", "0GB", "5 elephants"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a number above 0"):
        parse_size(text)


# --- what is wrong is one line, exit code 2, and nothing is written ---------------------------------------------------


def changed(**tensors: Any) -> dict[str, Any]:
    """The published tensors with others in their places; None = without."""
    replaced = {**published_transformer(), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    return {"module": {name: tensor for name, tensor in replaced.items() if tensor is not None}}


def bad_input(folder: Path, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    out = folder.parent / "out"
    axes = [] if "--rope-axes" in words else ["--rope-axes", *ROPE_AXES]
    assert main(["convert", str(folder), str(out), *map(str, (*words, *axes))]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert not out.exists()
    return lines[0]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_published_folder(tmp_path_factory.mktemp("weights") / "good")
    (folder / TRANSFORMER_FILES["distilled"]).unlink()
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "weights"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: dict(published_transformer()), "expected an entry 'module' with the tensors; found ['img_in.proj"),
        (lambda: [1, 2], "expected an entry 'module' with the tensors; found list"),
        (
            lambda: {"module": {"conv": torch.zeros(1)}},
            "not a published GameCraft transformer: 'img_in.proj.weight'",
        ),
        (lambda: changed(img_in__proj__bias=None), "1 missing: img_in.proj.bias"),
        (lambda: changed(**{f"x{i}": torch.zeros(1) for i in range(12)}), "12 unexpected: x0, x1, x2, x3, x4, x5, x6"),
        (lambda: changed(img_in__proj__bias=torch.zeros(3)), "img_in.proj.bias [3] instead of ["),
        (lambda: changed(img_in__proj__weight=torch.zeros(3, 3)), "has shape [3, 3]; expected 5 dimensions above 0"),
        (lambda: changed(img_in__proj__bias=3), "entry 'module': 1 of what it holds are no named tensors: img_in.proj"),
        (
            lambda: changed(final_layer__linear__weight=torch.zeros(9, 8)),
            "settings that belong to no model of",
        ),
    ],
    ids=["no entry", "list", "other model", "missing", "unexpected", "shape", "dimensions", "no tensor", "sizes"],
)
def test_other_transformers_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], content: Callable[[], object], message: str
) -> None:
    torch.save(content(), folder / STANDARD)
    assert message in bad_input(folder, capsys)


def test_damaged_and_unsafe_files_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / STANDARD).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\xff" * 99):
        (folder / STANDARD).write_bytes(damaged)
        assert "truncated, damaged or of another kind" in bad_input(folder, capsys)
    torch.save({"module": {}, "run": print}, folder / STANDARD)
    assert "its pickle asks for 'print', which could run any code" in bad_input(folder, capsys)
    (folder / STANDARD).write_bytes(whole)
    (text,) = (folder / LLAVA_FOLDER).glob("*.safetensors")
    text.write_bytes(text.read_bytes()[:-7])
    assert f"{text}: truncated, damaged or not a safetensors file" in bad_input(folder, capsys)


def test_tokenizers_are_looked_at_before_the_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / LLAVA_FOLDER / "tokenizer.json"
    file.write_text(file.read_text()[:-99])
    assert f"{folder / LLAVA_FOLDER}: its tokenizer cannot be read" in bad_input(folder, capsys)
    file.unlink()
    assert f"{folder / LLAVA_FOLDER}: no tokenizer; expected at least tokenizer.json" in bad_input(folder, capsys)


def test_options_that_do_not_fit_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sums to 128; give the rotary dimensions" in bad_input(folder, capsys, "--rope-axes", 16, 56, 56)
    assert "expected three even numbers above 0" in bad_input(folder, capsys, "--rope-axes", -4, 14, 6)
    assert "expected an entry 'ema'" in bad_input(folder, capsys, "--weights", "ema")
    assert "the size is '5'" in bad_input(folder, capsys, "--max-shard-size", "5")
    assert "--quantize has no published form" in bad_input(folder, capsys, "--to", "official", "--quantize", "fp8")


def test_another_folder_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", str(folder), str(folder / LLAVA_FOLDER), "--rope-axes", *map(str, ROPE_AXES)]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "exists and is not a conversion begun before; choose a new folder" in line


def test_too_little_room_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: argparse.Namespace(free=10**6))
    assert "will be written, but only 0.0 GB are free" in bad_input(folder, capsys)
