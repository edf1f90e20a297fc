"""`gamecraft play`: what it starts, and what it refuses before it loads anything."""

import socket
import threading
from typing import Any

import pytest

from gamecraft.cli import main
from gamecraft.commands.startup import startup_progress
from gamecraft.serving import listen
from gamecraft.serving.config import ServerConfig


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The settings of servers that would have been started."""
    configs: list[ServerConfig] = []

    def serve(config: ServerConfig, socket: Any, runtime: Any, startup: Any, *, open_browser: bool) -> int:
        configs.append(config)
        return 0

    monkeypatch.setattr(listen, "serve", serve)
    monkeypatch.delenv("GAMECRAFT_TOKEN", raising=False)
    return configs


def test_only_this_machine_unless_told_otherwise(served: list[ServerConfig]) -> None:
    assert main(["play", "--port", "0", "--no-browser"]) == 0
    assert (served[0].host, served[0].token) == ("127.0.0.1", None)


def test_for_others_a_token_is_made_or_taken(served: list[ServerConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert main(["play", "--host", "0.0.0.0", "--port", "0"]) == 0
    first, second = (config.token or "" for config in served)
    assert len(first) >= 32
    assert first != second
    monkeypatch.setenv("GAMECRAFT_TOKEN", "a token of my own")
    assert main(["play", "--host", "0.0.0.0", "--port", "0"]) == 0
    assert served[-1].token == "a token of my own"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--port", "70000"], "expected 0 to 65535"),
        (["--players", "0"], "expected at least 1"),
        (["--host", "0.0.0.0", "--token", "short"], "at least 16"),
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid"),
        (["--model", "nowhere"], "no model folder nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], line: str, served: list[ServerConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", *words]) == 2
    (printed,) = capsys.readouterr().err.splitlines()
    assert line in printed
    assert not served


def test_a_port_that_is_taken_is_said(served: list[ServerConfig], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["play", "--port", str(port)]) == 2
    assert f"cannot listen at 127.0.0.1, port {port}: Address already in use; try --port 0" in capsys.readouterr().err


def test_the_terminal_is_told_when_the_model_is_ready_or_why_it_will_not_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for loaded, failure, line in (
        (2, None, "ready after"),
        (0, "the model could not be loaded: it is no model", "no model"),
    ):
        with startup_progress("play") as startup:
            startup.follow(lambda loaded=loaded: loaded, lambda failure=failure: failure)
            for thread in threading.enumerate():
                if thread.name.startswith("startup"):
                    thread.join()
        first, last = capsys.readouterr().err.splitlines()
        assert first == "gamecraft play: loading the model ..."
        assert line in last
