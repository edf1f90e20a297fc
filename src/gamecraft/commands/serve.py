"""Start the server without a browser, with several replicas of the model if asked for.

Each replica is a process of its own, on a GPU of its own where there are GPUs, behind one address. Ray Serve leads each
player to the replica that has the session, and starts one again that died; the others and all saved sessions are not
touched by that. It comes with `pip install 'gamecraft[cluster]'`.
"""

import argparse
import os
import secrets
import sys
from dataclasses import replace
from typing import Any

from gamecraft.errors import GameCraftError, InputError
from gamecraft.runtime import Runtime
from gamecraft.serving.config import ServerConfig

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft serve`."""
    from gamecraft.commands.server_options import add_server_options

    add_server_options(parser)
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="processes with a model; default: 1")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped; returns the exit code."""
    from gamecraft.commands.server_options import server_config

    if args.replicas < 1:
        raise InputError(f"--replicas is {args.replicas}, expected at least 1")
    config, runtime = server_config(args)

    if args.replicas > 1:
        if runtime.ranks > 1:
            raise InputError("--replicas is for models that fit one GPU; start one server in torchrun for each other")
        return _serve_replicas(config, runtime, args.replicas)

    from gamecraft.commands.run_server import run_server

    return run_server("serve", config, runtime)


def _serve_replicas(config: ServerConfig, runtime: Runtime, replicas: int) -> int:
    serve = _with_ray()
    from gamecraft.apply_runtime import resolve_device
    from gamecraft.serving.listen import listen, url_of

    with listen(config) as socket:  # Ray's proxy binds it again
        config = replace(config, port=socket.getsockname()[1])
        url = url_of(config, socket)
    print(f"gamecraft serve: starting {replicas} replicas at {url} ...", file=sys.stderr, flush=True)
    gpus = resolve_device(runtime.device).type == "cuda"
    code: int = serve(config, runtime, replicas, gpus=gpus)
    return code


def _with_ray() -> Any:
    if "RAY_ADDRESS" not in os.environ:
        # Ray listens on all addresses of the machine, whatever it is told; it must not obey strangers. It looks for
        # these when it is imported.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        from gamecraft.serving.cluster import serve_replicas
    except ImportError as error:
        raise GameCraftError(
            f"--replicas needs Ray Serve, which does not load ({error}); pip install 'gamecraft[cluster]' installs it"
        ) from None
    return serve_replicas
