"""A server whose model spans several processes: the first one serves, the others repeat its work on the model.

Every rank holds the pipeline and divides the work of a call as ``gamecraft.parallel`` says. The arguments of a call are
known to the first rank only, which tells the others; all then make the same call, and meet inside it.
"""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gamecraft.parallel import agree
from gamecraft.pipeline import GameCraftPipeline

__all__ = ["BEAT_SECONDS", "follow", "lead"]

BEAT_SECONDS = 60.0
"""The others must hear from the first rank more often than the time limit of ``gamecraft.parallel``."""

_CALLS = ("play_chunk", "decode_latents")  # all that a session does with the transformer and the decoder
_BEAT, _END = "beat", "end"


class _StoppedError(Exception):
    """The first rank gave the chunk up."""


@contextmanager
def lead(pipe: GameCraftPipeline) -> Iterator[Callable[[], None]]:
    """On the first rank: let the others take part in all calls of ``pipe`` for the time of a block, then let them end.

    Gives the function to call about every ``BEAT_SECONDS``, never at the same time as the pipeline.
    """
    busy = threading.local()
    plain = {name: getattr(pipe, name) for name in _CALLS}

    def together(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, on_step: Any = None, on_chunk: Any = None, **named: Any) -> Any:
            own = {"on_step": on_step, "on_chunk": on_chunk}  # what the others are not told
            extra = {key: value for key, value in own.items() if value is not None}
            if getattr(busy, "now", False):  # a call within a call, which the others make by themselves
                return plain[name](*arguments, **named, **extra)
            _tell((name, arguments, named), pipe)
            busy.now = True
            try:
                if name == "play_chunk":
                    extra["on_step"] = _stoppable(on_step)
                return plain[name](*arguments, **named, **extra)
            finally:
                busy.now = False

        return call

    for name in _CALLS:
        object.__setattr__(pipe, name, together(name))
    try:
        yield lambda: _tell((_BEAT, (), {}), pipe)
    finally:
        for name in _CALLS:
            object.__delattr__(pipe, name)
        _tell((_END, (), {}), pipe)


def follow(pipe: GameCraftPipeline) -> None:
    """On the other ranks: make the calls of the first one until it ends.

    Raises:
        RuntimeError: it ended without saying so; ``gamecraft.parallel.ranks_together`` makes one line of that.
    """
    while True:
        name, arguments, named = _hear(pipe)
        if name == _END:
            return
        if name == "play_chunk":
            named = named | {"on_step": _stoppable(None)}
        if name != _BEAT:
            try:
                getattr(pipe, name)(*arguments, **named)
            except _StoppedError:
                continue


def _stoppable(on_step: Any) -> Any:
    """After each step all ranks agree whether to go on; the first one's own error comes out on the first one only."""

    def step(index: int, timestep: Tensor, latents: Tensor) -> Tensor:
        error: BaseException | None = None
        if on_step is not None:
            try:
                latents = on_step(index, timestep, latents)
            except BaseException as raised:
                error = raised
        if agree(error is not None):
            raise error or _StoppedError
        return latents

    return step


def _tell(message: tuple[str, tuple[Any, ...], dict[str, Any]], pipe: GameCraftPipeline) -> None:
    buffer = io.BytesIO()
    torch.save(message, buffer)
    content = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8).to(_device(pipe))
    dist.broadcast(torch.tensor([len(content)], device=_device(pipe)), src=0)
    dist.broadcast(content, src=0)


def _hear(pipe: GameCraftPipeline) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    length = torch.zeros(1, dtype=torch.int64, device=_device(pipe))
    dist.broadcast(length, src=0)
    content = torch.empty(int(length), dtype=torch.uint8, device=_device(pipe))
    dist.broadcast(content, src=0)
    # Written a moment ago by our own first rank, over the connection that torchrun set up: no file from outside.
    buffer = io.BytesIO(content.cpu().numpy().tobytes())
    message: tuple[str, tuple[Any, ...], dict[str, Any]] = torch.load(
        buffer, map_location=pipe.device, weights_only=False
    )
    return message


def _device(pipe: GameCraftPipeline) -> torch.device:
    """Where messages between ranks have to be."""
    return torch.device("cpu") if dist.get_backend() == "gloo" else pipe.device
