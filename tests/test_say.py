"""Processes that torchrun started say the same thing once."""

from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from gamecraft.commands import say as module
from gamecraft.commands.say import say


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """What the launcher gives its processes: variables, and the store that it keeps for them."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    for name, value in {**variables, "TORCHELASTIC_USE_AGENT_STORE": True}.items():
        monkeypatch.setenv(name, str(value))
    return store


@pytest.mark.usefixtures("torchrun")
def test_what_another_process_has_said_is_not_said_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in ("no image at a.png", "no image at a.png", "it needs 3.1 GB", "it needs 3.2 GB"):
        say(line)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    say("no image at a.png")
    assert capsys.readouterr().err.splitlines() == ["no image at a.png", "it needs 3.1 GB", "no image at a.png"]


@pytest.mark.parametrize("processes", [1, 2])
def test_without_a_launcher_that_keeps_a_store_each_process_says_it(
    processes: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    say("stopped")
    say("stopped")
    assert capsys.readouterr().err == "stopped\nstopped\n"


def test_a_launcher_that_has_gone_keeps_no_process_silent(
    torchrun: TCPStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_PORT", "1")  # nobody listens there
    monkeypatch.setattr(module, "_PATIENCE", timedelta(milliseconds=200))
    say("stopped")
    assert capsys.readouterr().err == "stopped\n"
