"""The command line: quick, helpful, one line for an error."""

import os
import re
import shlex
import subprocess
import sys
import time
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import pytest

import gamecraft
from gamecraft import cli
from gamecraft.cli import COMMANDS, main
from gamecraft.errors import InputError

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
HEAVY = ("torch", "diffusers", "transformers", "matplotlib", "av", "cv2", "panda3d", "pyarrow", "numpy", "PIL")


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_package_and_its_help_load_nothing_heavy() -> None:
    report = f"print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(f"import sys, gamecraft; {report}") == "[]\n"
    assert run_python(f"import sys; from gamecraft.cli import main; main(['--help']); {report}").endswith("\n[]\n")


def test_help_is_quick() -> None:
    started = time.process_time()
    before = sum(subprocess_times())
    run_python("from gamecraft.cli import main; main(['--help'])")
    assert time.process_time() - started + sum(subprocess_times()) - before < 1.0


def subprocess_times() -> tuple[float, float]:
    times = os.times()
    return times.children_user, times.children_system


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "examples:\n" in text
    for example in COMMANDS[name].examples:
        assert example.startswith(f"gamecraft {name}")
        assert example in text


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module(COMMANDS[name].module), "run", lambda args: 0)
    for example in COMMANDS[name].examples:
        assert main(shlex.split(example)[1:]) == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_documentation_are_valid(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"```(?:sh|shell)\n(.*?)```", text, re.DOTALL):
        for line in re.findall(r"^(?:torchrun .* -m )?gamecraft (.+)$", block, re.MULTILINE):
            words = shlex.split(line.removesuffix("..."), comments=True)
            if words[0] in COMMANDS:
                monkeypatch.setattr(import_module(COMMANDS[words[0]].module), "run", lambda args: 0)
            assert main(words) == 0, line


def test_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text and command.help in text for name, command in COMMANDS.items())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gamecraft {gamecraft.__version__}\n"


@pytest.mark.parametrize("words", [[], ["fly"], ["gallery", "--exprot"], ["generate"], ["sheet"], ["--fast"]])
def test_wrong_words_are_one_line_and_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert "--help" in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no such thing"), 2, "gamecraft gallery: no such thing"),
        (InputError("unknown key 'q'\n  w 2s, q 1s\n        ^"), 2, "gamecraft gallery: unknown key 'q' at 'q 1s'"),
        (InputError("it is empty, but the script ends here\n  w\n   ^"), 2, None),
        (InputError("two\n lines"), 2, "gamecraft gallery: two lines"),
        (OSError(28, "No space left on device", "x.mp4"), 2, "gamecraft gallery: x.mp4: No space left on device"),
        (OSError("odd"), 2, "gamecraft gallery: odd"),
        (KeyboardInterrupt(), 130, "gamecraft gallery: stopped"),
    ],
)
def test_errors_are_one_line(
    error: BaseException,
    code: int,
    line: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: Namespace) -> int:
        raise error

    monkeypatch.setattr(import_module(COMMANDS["gallery"].module), "run", fail)
    assert main(["gallery"]) == code
    (printed,) = capsys.readouterr().err.splitlines()
    assert line is None or printed == line


def test_bugs_show_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: Namespace) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(import_module(COMMANDS["gallery"].module), "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["gallery"])


def test_the_module_is_the_command() -> None:
    result = subprocess.run([sys.executable, "-m", "gamecraft", "fly"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("gamecraft: argument COMMAND: invalid choice")


def test_exported_names_exist() -> None:
    for name in gamecraft.__all__:
        assert getattr(gamecraft, name) is not None
    assert set(gamecraft.__all__) <= set(dir(gamecraft))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gamecraft.nothing  # noqa: B018
    assert cli.__all__ == sorted(cli.__all__)
