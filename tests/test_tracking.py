"""What TensorBoard shows of a run is what its log says."""

import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gamecraft.errors import InputError
from gamecraft.training.run import RunFolder
from gamecraft.training.tracking import check_trackers
from gamecraft.training.transformer import TransformerTraining, train_transformer


def events(run: str) -> Iterator[Any]:
    """The records of TensorBoard's files of a run, oldest file first."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(
        (Path(run) / "trackers").glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns
    ):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def test_numbers_and_pictures_of_the_log_are_in_tensorboard(training: TransformerTraining) -> None:
    train_transformer(replace(training, max_steps=2, log_every=1))
    seen = {(event.step, value.tag): value for event in events(training.run) for value in event.summary.value}
    *steps, measured = RunFolder(training.run).records()
    for record in steps:
        assert seen[record["step"], "train/loss"].simple_value == pytest.approx(record["loss"])
        assert seen[record["step"], "train/ms_per_sample"].simple_value == pytest.approx(record["ms_per_sample"])
    assert seen[2, "held_out/clip_0.5"].simple_value == pytest.approx(measured["held_out"]["clip@0.5"])
    mean = sum(row["psnr"] for row in measured["samples"]) / len(measured["samples"])
    assert seen[2, "samples/psnr"].simple_value == pytest.approx(mean)
    picture = seen[2, "samples"].image
    assert (picture.height, picture.width) == (4 * 32, 10 * 48)  # two chunks, truth and sample; last frame and nine


def test_a_continued_run_takes_back_what_it_makes_again(training: TransformerTraining) -> None:
    from tensorboardX.proto.event_pb2 import SessionLog

    train_transformer(replace(training, max_steps=2))
    time.sleep(1.1)  # event files are named by the second
    train_transformer(replace(training, max_steps=3))
    starts = [event.step for event in events(training.run) if event.session_log.status == SessionLog.START]
    assert starts == [1, 3]


def test_without_trackers_there_are_none(training: TransformerTraining) -> None:
    train_transformer(replace(training, max_steps=1, trackers=()))
    assert not (Path(training.run) / "trackers").exists()


def test_a_tracker_that_is_not_installed_is_told() -> None:
    with pytest.raises(InputError, match="pip install wandb"):
        check_trackers(("tensorboard", "wandb"))
