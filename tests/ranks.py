"""Runs a function in several processes that are connected as by torchrun, over gloo on the CPU.

They are forks of this process, because importing the libraries in each would take longer than all tests together.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_ranks(ranks: int, function: Callable[..., None], *arguments: Any, folder: Path) -> list[tuple[int, str]]:
    """Exit code and stderr of each rank; a GameCraftError is one line and 2, as in the command line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    logs = [folder / f"rank{rank}.log" for rank in range(ranks)]
    processes = [
        context.Process(target=_rank, args=(rank, ranks, port, log, function, arguments))
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=1800)  # a guard alone: a busy machine may take long
        if process.exitcode and "EADDRINUSE" in logs[0].read_text():  # somebody took the port meanwhile
            for other in processes:
                other.kill()
            return in_ranks(ranks, function, *arguments, folder=folder)
    hanging = [process for process in processes if process.exitcode is None]
    for process in hanging:
        process.kill()
    assert not hanging, [log.read_text()[-1000:] for log in logs]
    return [(int(process.exitcode or 0), log.read_text()) for process, log in zip(processes, logs, strict=True)]


def _rank(
    rank: int, ranks: int, port: int, log: Path, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    from gamecraft.errors import GameCraftError

    stream = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(stream, 2)
    os.dup2(stream, 1)
    sys.stdout = sys.stderr = os.fdopen(2, "w", closefd=False)
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        function(*arguments)
    except GameCraftError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
