"""Runs one server, alone or as the first of torchrun's processes."""

import signal

from gamecraft.errors import InputError
from gamecraft.runtime import Runtime, is_writer, world_size
from gamecraft.serving.config import ServerConfig

__all__ = ["run_server"]


def run_server(command: str, config: ServerConfig, runtime: Runtime, *, open_browser: bool = False) -> int:
    """Serve until stopped; returns the exit code.

    Raises:
        InputError: the address cannot be listened at, or the options do not fit the number of processes.
        GameCraftError: another process ended.
    """
    from gamecraft.commands.startup import startup_progress
    from gamecraft.serving.listen import listen, serve

    if runtime.ranks == world_size() == 1:
        with listen(config) as socket, startup_progress(command) as startup:
            return serve(config, socket, runtime, startup, open_browser=open_browser)
    if config.port == 0:
        raise InputError("with several processes, --port 0 is not possible; give one")
    return _in_ranks(command, config, runtime, open_browser=open_browser)


def _in_ranks(command: str, config: ServerConfig, runtime: Runtime, *, open_browser: bool) -> int:
    from gamecraft.apply_runtime import resolve_device
    from gamecraft.commands.startup import startup_progress
    from gamecraft.parallel import ranks_together
    from gamecraft.serving.listen import Ranks, listen, load_model, serve
    from gamecraft.serving.lockstep import follow, lead

    with ranks_together(runtime, resolve_device(runtime.device)):
        if not is_writer():
            for number in (signal.SIGINT, signal.SIGTERM):  # the first one tells when to end
                signal.signal(number, signal.SIG_IGN)
            follow(load_model(config, runtime))
            return 0
        with listen(config) as socket, startup_progress(command) as startup:
            pipe = load_model(config, runtime)
            with lead(pipe) as beat:
                ranks = Ranks(load=lambda: pipe, beat=beat)
                return serve(config, socket, runtime, startup, open_browser=open_browser, ranks=ranks)
