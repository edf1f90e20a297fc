"""Recipes: small YAML files that map one to one onto the frozen dataclass of their task.

A recipe is one mapping with `task:` and the fields of that task's dataclass, nested dataclasses as nested mappings.
Everything is checked before anything runs: an unknown key names the nearest valid one, a wrong type names the key.
"""

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast

import yaml

from gamecraft.errors import InputError

__all__ = ["apply_overrides", "build_config", "load_recipe"]

T = TypeVar("T")
_SCALARS = {bool: "true or false", int: "a whole number", str: "text", Path: "a path"}


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> tuple[str, dict[str, Any]]:
    """Read a recipe and apply `key=value` overrides.

    Returns:
        the task's name and the remaining values, still to be given to `build_config`.

    Raises:
        InputError: the file is missing, is not a YAML mapping, has no `task`, or an override is malformed.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror}; give the path of a .yaml file") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("task"), str):
        raise InputError(f"{path} must be a YAML mapping with a `task:` name; see the files in recipes/")
    values = apply_overrides(values, overrides)
    return str(values.pop("task")), values


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` with `a.b=value` settings applied; each value is read as YAML.

    InputError if one has no `=`, or goes through a key that is not a mapping.
    """
    result = dict(values)
    for setting in overrides:
        key, separator, text = setting.partition("=")
        if not separator or not key:
            raise InputError(f"received the setting {setting!r}; expected key=value, such as max_steps=4000")
        *parents, leaf = key.split(".")
        target = result
        for parent in parents:
            child = target.get(parent, {})
            if not isinstance(child, dict):
                raise InputError(f"the setting {setting!r} goes through {parent!r}, which is not a group of settings")
            target[parent] = dict(child)
            target = target[parent]
        try:
            target[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"the value of the setting {setting!r} is not valid YAML") from error
    return result


def build_config(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """An instance of the dataclass `cls` from plain values.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, Path, Literal, optionals, tuples, or dataclasses.
        values: field values as YAML gives them.
        prefix: where these values are in the recipe, such as "model.", for messages.

    Raises:
        InputError: an unknown key (with the nearest valid one), a missing key, or a value of the wrong type.
    """
    known = {field.name: field for field in fields(cast(Any, cls))}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise InputError(
                f"unknown key {prefix}{key}; did you mean {prefix}{near}? Valid: {', '.join(sorted(known))}"
            )
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"the recipe has no {prefix}{name}, which {cls.__name__} needs")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _convert(value, hints[key], prefix + key) for key, value in values.items()})


def _convert(value: Any, hint: Any, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise _wrong(value, "a group of settings", key)
        return build_config(hint, value, f"{key}.")
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _convert(value, inner, key)
    if origin is Literal:
        if value not in arguments:
            raise _wrong(value, f"one of {', '.join(map(repr, arguments))}", key)
        return value
    if origin is tuple:
        return _convert_tuple(value, arguments, key)
    return _convert_scalar(value, hint, key)


def _convert_tuple(value: Any, arguments: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, "a list", key)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise _wrong(value, f"a list of {len(arguments)} values", key)
    return tuple(
        _convert(item, hint, f"{key}[{i}]") for i, (item, hint) in enumerate(zip(value, arguments, strict=True))
    )


def _convert_scalar(value: Any, hint: Any, key: str) -> Any:
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 6e-4, without a dot, as text
            return float(value)
        except ValueError:
            raise _wrong(value, "a number", key) from None
    if hint in (bool, int, str) and type(value) is hint:
        return value
    raise _wrong(
        value, {bool: "true or false", int: "a whole number", str: "text", Path: "a path"}.get(hint, hint), key
    )


def _wrong(value: Any, expected: object, key: str) -> InputError:
    return InputError(f"{key} is {value!r} ({type(value).__name__}); expected {expected}")
