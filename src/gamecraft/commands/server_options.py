"""What `play` and `serve` have in common: the options of a server."""

import argparse
import os
import secrets
from pathlib import Path

from gamecraft.errors import InputError
from gamecraft.runtime import Runtime
from gamecraft.serving.config import ServerConfig, default_state_folder, is_loopback

__all__ = ["add_server_options", "server_config"]


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server, and those of how its model is run."""
    from gamecraft.commands.runtime_options import add_runtime_options

    parser.add_argument("--model", type=Path, metavar="FOLDER", help="model folder; default: the embedded one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0 takes a free one")
    parser.add_argument(
        "--token",
        default=os.environ.get("GAMECRAFT_TOKEN"),
        help="what others have to show; better given as GAMECRAFT_TOKEN, which other users cannot see",
    )
    parser.add_argument(
        "--origin", action="append", default=[], metavar="URL", help="address of a reverse proxy, as browsers see it"
    )
    parser.add_argument(
        "--state", type=Path, metavar="FOLDER", help=f"where sessions are kept; default: {default_state_folder()}"
    )
    parser.add_argument(
        "--players", type=int, default=4, metavar="N", help="how many play at a time; default: %(default)s"
    )
    parser.add_argument(
        "--session-mib", type=int, default=1024, metavar="N", help="memory for one session, MiB; default: %(default)s"
    )
    add_runtime_options(parser)


def server_config(args: argparse.Namespace) -> tuple[ServerConfig, Runtime]:
    """The settings that the options ask for.

    Raises:
        InputError: an option is not valid, or the model folder is none.
    """
    from gamecraft.commands.runtime_options import runtime_from
    from gamecraft.model_folder import check_model_folder

    if not 0 <= args.port <= 65535:
        raise InputError(f"the port is {args.port}, expected 0 to 65535")
    for name, value in (("players", args.players), ("session-mib", args.session_mib)):
        if value < 1:
            raise InputError(f"--{name} is {value}, expected at least 1")
    token = args.token or (None if is_loopback(args.host) else secrets.token_urlsafe(24))
    config = ServerConfig(
        host=args.host,
        port=args.port,
        token=token,
        origins=tuple(args.origin),
        state=(args.state or default_state_folder()).absolute(),
        model=args.model and args.model.absolute(),
        max_players=args.players,
        session_bytes=args.session_mib * 2**20,
        session_file_bytes=(args.session_mib + 64) * 2**20,
    )
    runtime = runtime_from(args)
    check_model_folder(args.model)
    return config, runtime
