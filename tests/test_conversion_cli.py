import argparse
from pathlib import Path

import pytest

from gamecraft.conversion.cli import add_parser, parse_size
from gamecraft.errors import CheckpointError, InputError
from published_folder import ROPE_AXES, write_published_folder


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["convert", *map(str, arguments)])
    code: int = args.handler(args)
    return code


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
