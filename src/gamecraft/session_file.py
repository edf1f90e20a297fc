"""Sessions on disk: one safetensors file with the start, optionally the latents, and everything else as JSON."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gamecraft.actions import Action, actions_from_json, actions_to_json
from gamecraft.controls import MAX_FRAMES
from gamecraft.errors import ActionError, InputError
from gamecraft.files import write_atomically
from gamecraft.rollout import PlaySettings

__all__ = ["Change", "SessionData", "read_session", "write_session"]

_VERSION = 1
_KEY = "gamecraft_session"
_MAX_PROMPT = 10_000
_FIELDS = {"version", "settings", "prompt", "negative_prompt", "chunks", "notes"}
_OPTIONAL_FIELDS = {"changes"}  # so that sessions without any are what older versions read and wrote


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """Another seed and prompt from chunk ``chunk`` on.

    Raises:
        InputError: the prompt is not a text of at most 10,000 characters.
    """

    chunk: int
    seed: int
    prompt: str

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SessionData:
    """What a play starts with, and what was changed on the way, in order.

    ``start`` is uint8 [F, H, W, 3], one frame or a chunk of them.

    Raises:
        InputError: a prompt is not a text of at most 10,000 characters.
    """

    settings: PlaySettings
    prompt: str
    negative_prompt: str
    start: NDArray[np.uint8]
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        _check_prompt(self.negative_prompt)


def write_session(
    path: Path,
    data: SessionData,
    chunks: Sequence[Sequence[Action]],
    latents: Sequence[Tensor] | None,
    notes: Mapping[str, Any],
) -> None:
    """Write a session: the actions of each chunk, and its latents [1, C, t, h, w] if given.

    Raises:
        OSError: the file cannot be written; an older one is then as it was.
    """
    tensors = {"start": torch.from_numpy(data.start)}
    if latents:
        tensors["latents"] = torch.cat(list(latents)).float().cpu().contiguous()
    values = {
        "version": _VERSION,
        "settings": dataclasses.asdict(data.settings),
        "prompt": data.prompt,
        "negative_prompt": data.negative_prompt,
        "chunks": [actions_to_json(chunk) for chunk in chunks],
        "notes": notes,
    }
    if data.changes:
        values["changes"] = [dataclasses.asdict(change) for change in data.changes]
    content = save(tensors, {_KEY: json.dumps(values)})
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def read_session(path: Path) -> tuple[SessionData, list[tuple[Action, ...]], Tensor | None, dict[str, Any]]:
    """What ``write_session`` wrote: start, actions of each chunk, latents [N, C, t, h, w] if stored, notes.

    Raises:
        InputError: the file is missing, damaged, or holds anything but a session.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise InputError(f"there is no session {path}") from None
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a session: {error}") from None
    try:
        return _parse(values, tensors)
    except (InputError, TypeError) as error:
        raise InputError(f"{path} is not a valid session: {error}") from None


def _parse(
    values: Any, tensors: dict[str, Tensor]
) -> tuple[SessionData, list[tuple[Action, ...]], Tensor | None, dict[str, Any]]:
    if not isinstance(values, dict) or values.get("version") != _VERSION or set(values) - _OPTIONAL_FIELDS != _FIELDS:
        raise InputError(f"expected a session of version {_VERSION}")
    if not isinstance(values["settings"], dict) or not isinstance(values["notes"], dict):
        raise InputError("settings and notes must be objects")
    start, latents = tensors.pop("start", torch.empty(0)), tensors.pop("latents", None)
    if tensors or start.dtype != torch.uint8 or start.ndim != 4 or start.shape[-1] != 3 or 0 in start.shape:
        raise InputError("expected a start uint8 [F, H, W, 3] and nothing beside it but latents")
    chunks = _parse_chunks(values["chunks"])
    settings = PlaySettings(**values["settings"])
    data = SessionData(
        settings=settings,
        prompt=values["prompt"],
        negative_prompt=values["negative_prompt"],
        start=start.numpy(),
        changes=_parse_changes(values.get("changes", []), settings, len(chunks)),
    )
    if latents is not None and not (
        latents.dtype == torch.float32 and len(latents) == len(chunks) and bool(latents.isfinite().all())
    ):
        raise InputError(f"the latents {list(latents.shape)} are not finite float32 for {len(chunks)} chunks")
    return data, chunks, latents, values["notes"]


def _parse_chunks(texts: Any) -> list[tuple[Action, ...]]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError("the chunks must be a list of actions")
    chunks: list[tuple[Action, ...]] = []
    left = MAX_FRAMES
    for text in texts:
        chunks.append(tuple(actions_from_json(text)))
        left -= len(chunks[-1])
        if left < 0:
            raise ActionError(f"the session is longer than {MAX_FRAMES} frames")
    return chunks


def _parse_changes(values: Any, settings: PlaySettings, num_chunks: int) -> tuple[Change, ...]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InputError("the changes must be a list of objects")
    changes = tuple(Change(**value) for value in values)
    places = [change.chunk for change in changes]
    if not all(type(place) is int and 1 <= place <= num_chunks for place in places) or places != sorted(set(places)):
        raise InputError(f"the changes must be in order, at chunks 1 to {num_chunks}")
    for change in changes:
        dataclasses.replace(settings, seed=change.seed)  # refuses what is no seed
    return changes


def _check_prompt(text: Any) -> None:
    if not isinstance(text, str) or len(text) > _MAX_PROMPT:
        raise InputError(f"a prompt is one text of at most {_MAX_PROMPT} characters, received {text!r:.60}")
