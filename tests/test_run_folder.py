"""A training run survives being killed: whole checkpoints, a log without duplicates, a polite stop."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from gamecraft.errors import CheckpointError
from gamecraft.files import write_atomically
from gamecraft.training.run import Ema, RunFolder, StopSignal


def damage(file: Path) -> None:
    """Cut the file in half, as a disk that filled up would."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_fresh_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "new" / "run").load_checkpoint() is None


def test_the_newest_checkpoint_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (5, 10, 15):
        run.save_checkpoint(step, {"weights": torch.full((3,), float(step)), "note": {"lr": 0.1}})
    assert [file.name for file in run.checkpoints()] == ["checkpoint-000000010.pt", "checkpoint-000000015.pt"]
    state = RunFolder(tmp_path).load_checkpoint()
    assert state is not None
    assert state["step"] == 15
    assert state["note"] == {"lr": 0.1}
    assert torch.equal(state["weights"], torch.full((3,), 15.0))


def test_a_truncated_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2):
        run.save_checkpoint(step, {"weights": torch.zeros(1000)})
    damage(run.checkpoints()[-1])
    state = run.load_checkpoint()
    assert state is not None
    assert state["step"] == 1


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_checkpoint(1, {"weights": torch.zeros(1000)})
    newest = run.save_checkpoint(2, {"weights": torch.full((1000,), 7.0)})
    content = bytearray(newest.read_bytes())
    content[content.find(torch.full((9,), 7.0).numpy().tobytes()) + 400] ^= 1
    newest.write_bytes(content)
    state = run.load_checkpoint()
    assert state is not None
    assert state["step"] == 1


def test_when_all_checkpoints_are_damaged_training_does_not_start_over_silently(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    damage(run.save_checkpoint(1, {"weights": torch.zeros(1000)}))
    with pytest.raises(CheckpointError, match="remove them"):
        run.load_checkpoint()


@pytest.mark.parametrize("durable", [False, True])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, durable: bool) -> None:
    target = tmp_path / "file"
    with write_atomically(target, durable=durable) as temporary:
        temporary.write_text("old")

    def fail() -> None:
        with write_atomically(target, durable=durable) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-000000007.pt.123.tmp").write_bytes(b"half")
    RunFolder(tmp_path).load_checkpoint()
    assert list(tmp_path.iterdir()) == []


def test_the_log_loses_what_will_be_written_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in range(1, 5):
        run.log({"step": step, "loss": 1 / step})
        if step == 2:
            run.save_checkpoint(step, {})
    with run.log_path.open("a") as file:
        file.write('{"step": 5, "lo')  # killed in the middle of a line

    resumed = RunFolder(tmp_path)
    resumed.load_checkpoint()
    resumed.log({"step": 3, "loss": 0.5})
    assert [record["step"] for record in resumed.records()] == [1, 2, 3]


def test_reading_a_checkpoint_does_not_touch_the_log(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_checkpoint(1, {})
    run.log({"step": 9})
    RunFolder(tmp_path).load_checkpoint()
    assert [record["step"] for record in run.records()] == [9]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_loop_to_stop_and_handlers_return(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) is before


def test_a_second_interrupt_raises() -> None:
    with StopSignal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_averaged_weights_approach_constant_weights() -> None:
    model = nn.Linear(2, 2)
    ema = Ema(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
    for _ in range(40):
        ema.update(model)
    torch.testing.assert_close(ema.shadow["weight"], torch.full((2, 2), 3.0))


def test_the_model_has_its_own_weights_back_after_using_the_average() -> None:
    model = nn.Linear(2, 2)
    ema = Ema(model, decay=0.9)
    with torch.no_grad():
        model.weight.add_(1)
    own = model.weight.detach().clone()
    with ema.applied(model):
        torch.testing.assert_close(model.weight.detach(), own - 1)
    assert torch.equal(model.weight, own)


def test_the_average_survives_a_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    ema = Ema(model, decay=0.9)
    with torch.no_grad():
        model.weight.add_(1)
    ema.update(model)
    run = RunFolder(tmp_path)
    run.save_checkpoint(1, {"ema": ema.state_dict()})
    state = run.load_checkpoint()
    assert state is not None
    again = Ema(nn.Linear(2, 2), decay=0.9)
    again.load_state_dict(state["ema"])
    assert again.updates == 1
    assert torch.equal(again.shadow["weight"], ema.shadow["weight"])


def test_an_average_of_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match="other names"):
        Ema(nn.Linear(2, 2), 0.9).load_state_dict(Ema(nn.Linear(2, 2, bias=False), 0.9).state_dict())
