"""Recipes become dataclasses one to one, and every mistake is named with its remedy."""

import argparse
import importlib
import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from gamecraft.errors import InputError
from gamecraft.training.cli import TASKS, Task, run
from gamecraft.training.config import apply_overrides, build_config, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 8
    axes: tuple[int, int] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Settings:
    data: str
    rate: float = 0.1
    shape: Literal["flat", "round"] = "flat"
    folder: Path | None = None
    levels: tuple[float, ...] = ()
    check: bool = True
    inner: Inner = field(default_factory=Inner)


RECEIVED: list[Settings] = []


def remember(settings: Settings) -> None:
    RECEIVED.append(settings)


def test_values_become_the_types_of_the_fields() -> None:
    values = {"data": "x", "rate": 1, "folder": "a/b", "levels": [0, 0.5], "inner": {"width": 3, "axes": [4, 5]}}
    assert build_config(Settings, values) == Settings(
        data="x", rate=1.0, folder=Path("a/b"), levels=(0.0, 0.5), inner=Inner(width=3, axes=(4, 5))
    )


def test_yaml_numbers_without_a_dot_are_numbers(tmp_path: Path) -> None:
    recipe = tmp_path / "a.yaml"
    recipe.write_text("task: x\ndata: d\nrate: 6e-4\n")
    assert build_config(Settings, load_recipe(recipe)[1]).rate == 6e-4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "x", "raet": 1}, "unknown key raet; did you mean rate"),
        ({"data": "x", "inner": {"widht": 1}}, r"unknown key inner\.widht; did you mean inner\.width"),
        ({"rate": 1}, "no data"),
        ({"data": 3}, "data is 3 .* expected text"),
        ({"data": "x", "rate": "fast"}, "rate is 'fast' .* expected a number"),
        ({"data": "x", "rate": True}, "rate is True"),
        ({"data": "x", "check": 1}, "check is 1 .* expected true or false"),
        ({"data": "x", "shape": "square"}, "shape is 'square' .* expected one of 'flat', 'round'"),
        ({"data": "x", "inner": 3}, "inner is 3 .* expected a group"),
        ({"data": "x", "inner": {"axes": [1]}}, "a list of 2"),
        ({"data": "x", "inner": {"axes": [1, "b"]}}, r"inner\.axes\[1\] is 'b' .* whole number"),
        ({"data": "x", "levels": 1}, "levels is 1 .* a list"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_config(Settings, values)


def test_overrides_reach_nested_settings_and_leave_the_recipe_alone() -> None:
    values = {"data": "x", "inner": {"width": 3}}
    changed = apply_overrides(values, ["inner.width=4", "rate=0.5", "folder=null", "inner.axes=[7, 8]"])
    assert changed == {"data": "x", "inner": {"width": 4, "axes": [7, 8]}, "rate": 0.5, "folder": None}
    assert values == {"data": "x", "inner": {"width": 3}}


@pytest.mark.parametrize("setting", ["max_steps", "=3", "data.x=1", "a=[1"])
def test_malformed_overrides_are_refused(setting: str) -> None:
    with pytest.raises(InputError):
        apply_overrides({"data": "x"}, [setting])


@pytest.mark.parametrize("text", ["- a\n", "data: x\n", "task: [\n", ""])
def test_a_recipe_is_a_mapping_with_a_task(tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "a.yaml"
    recipe.write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml"):
        load_recipe(recipe)


def test_a_missing_recipe_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_maps_onto_the_configuration_of_its_task(recipe: Path) -> None:
    name, values = load_recipe(recipe)
    task = TASKS[name]
    config = build_config(getattr(importlib.import_module(task.module), task.config), values)
    assert operator.attrgetter(task.run_key)(config)


def test_the_command_runs_the_task_in_the_folder_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "a.yaml"
    recipe.write_text("task: mine\ndata: d\n")
    monkeypatch.setitem(TASKS, "mine", Task(__name__, "Settings", "remember", run_key="folder"))
    arguments = argparse.Namespace(config=str(recipe), run="a: folder", set=["rate=2"])
    assert run(arguments) == 0
    assert [Settings(data="d", folder=Path("a: folder"), rate=2.0)] == RECEIVED


def test_an_unknown_task_is_named_with_the_known_ones(tmp_path: Path) -> None:
    recipe = tmp_path / "a.yaml"
    recipe.write_text("task: cooking\n")
    with pytest.raises(InputError, match="'cooking'; expected one of text, autoencoder, depth, refiner, transformer"):
        run(argparse.Namespace(config=str(recipe), run=None, set=[]))
