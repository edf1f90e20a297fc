"""Runs the server in this process until it is told to stop."""

import os
import socket as sockets
import sys
import webbrowser
from functools import partial
from threading import Timer

import uvicorn

from gamecraft.errors import InputError
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.runtime import Runtime
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.messages import MAX_MESSAGE_BYTES

__all__ = ["listen", "serve"]

_MAX_CONNECTIONS = 500
_BROWSER_SECONDS = 1.0  # for the server to accept connections


def listen(config: ServerConfig) -> sockets.socket:
    """A socket bound to the address of the settings.

    Raises:
        InputError: the host is unknown, or the port is taken or not allowed.
    """
    try:
        family = sockets.getaddrinfo(config.host, config.port, type=sockets.SOCK_STREAM)[0][0]
        return sockets.create_server((config.host, config.port), family=family)
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # not so if the name cannot be resolved
        reason = os.strerror(error.errno or 0) if known else error.strerror or str(error)
        raise InputError(f"cannot listen at {config.host}, port {config.port}: {reason}; try --port 0") from None


def serve(config: ServerConfig, socket: sockets.socket, runtime: Runtime, *, open_browser: bool = False) -> int:
    """Serve at a socket until SIGINT or SIGTERM, then write all sessions to disk; returns the exit code."""
    from gamecraft.serving.app import create_app

    app = create_app(config, partial(_load, config, runtime))
    url = _url(config, socket)
    settings = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        ws_max_size=4 * MAX_MESSAGE_BYTES,  # longer ones end the connection; up to here they are answered
        ws_per_message_deflate=False,  # pictures do not get smaller
        timeout_graceful_shutdown=3,
        limit_concurrency=_MAX_CONNECTIONS,
    )
    print(f"gamecraft play: {url}  (Ctrl-C stops; sessions are kept in {config.state})", file=sys.stderr, flush=True)
    if open_browser:
        timer = Timer(_BROWSER_SECONDS, webbrowser.open, [url])
        timer.daemon = True
        timer.start()
    uvicorn.Server(settings).run(sockets=[socket])
    return 0


def _load(config: ServerConfig, runtime: Runtime) -> GameCraftPipeline:
    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.loading import load_pipeline

    quiet_libraries()
    return load_pipeline(config.model, runtime=runtime)


def _url(config: ServerConfig, socket: sockets.socket) -> str:
    host, port = config.host, socket.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):
        host = sockets.gethostname()
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={config.token}" if config.token else "")
