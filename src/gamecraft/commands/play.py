"""Start the server and its page: hold W and the world moves.

Only this machine can open it, unless --host says otherwise; then a token is needed, and one is made if none is given.
Sessions are kept in the state folder and outlive the server.
"""

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft play`."""
    from gamecraft.commands.server_options import add_server_options

    add_server_options(parser)
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped; returns the exit code."""
    # What is wrong with the options is said before the libraries are loaded, which takes seconds.
    from gamecraft.commands.server_options import server_config

    config, runtime = server_config(args)

    from gamecraft.commands.run_server import run_server

    return run_server("play", config, runtime, open_browser=not args.no_browser)
