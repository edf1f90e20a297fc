"""What a command tells the user on stderr: once, also where torchrun started several processes that find the same."""

import os
import re
import sys
from datetime import timedelta
from hashlib import sha256

from gamecraft.runtime import world_size

__all__ = ["say"]

_PATIENCE = timedelta(seconds=10)  # with a launcher that does not answer


def say(line: str) -> None:
    """Print a line to stderr, unless another process of this torchrun has said it, be it with other numbers."""
    if _is_first(line):
        print(line, file=sys.stderr, flush=True)


def _is_first(line: str) -> bool:
    """Asks the store that torchrun keeps for its processes; a process on its own, or without an answer, is the first.

    Whoever finds the error first says it, which need not be rank 0: a file may be missing on one machine alone.
    """
    if world_size() == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key = sha256(re.sub(r"\d+", "0", line).encode()).hexdigest()
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_PATIENCE)
        return bool(store.add(f"gamecraft/said/{attempt}/{key}", 1) == 1)
    except (DistError, RuntimeError):
        return True
