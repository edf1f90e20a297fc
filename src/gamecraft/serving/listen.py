"""Runs the server in this process until it is told to stop."""

import os
import socket as sockets
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING

import uvicorn

from gamecraft.commands.startup import Startup
from gamecraft.errors import InputError
from gamecraft.runtime import Runtime
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.messages import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from gamecraft.pipeline import GameCraftPipeline

__all__ = ["Ranks", "listen", "load_model", "serve", "url_of"]

_MAX_CONNECTIONS = 500
_BROWSER_SECONDS = 1.0  # for the server to accept connections


@dataclass(frozen=True)
class Ranks:
    """For a model that spans several processes: how to get the pipeline, and the beat of ``lockstep.lead``."""

    load: Callable[[], "GameCraftPipeline"]
    beat: Callable[[], None]


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


def serve(
    config: ServerConfig,
    socket: sockets.socket,
    runtime: Runtime,
    startup: Startup,
    *,
    open_browser: bool = False,
    ranks: Ranks | None = None,
) -> int:
    """Serve at a socket until SIGINT or SIGTERM, then write all sessions to disk; returns the exit code."""
    from gamecraft.serving.app import create_app

    app = create_app(config, ranks.load if ranks else partial(load_model, config, runtime))
    url = url_of(config, socket)
    settings = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        ws_max_size=4 * MAX_MESSAGE_BYTES,  # longer ones end the connection; up to here they are answered
        ws_per_message_deflate=False,  # pictures do not get smaller
        timeout_graceful_shutdown=3,
        limit_concurrency=_MAX_CONNECTIONS,
    )
    server = app.state.server
    if ranks:
        server.keep_alive(ranks.beat)
    startup.follow(lambda: server.steps_loaded, lambda: server.failure)
    print(f"gamecraft play: {url}  (Ctrl-C stops; sessions are kept in {config.state})", file=sys.stderr, flush=True)
    if open_browser:
        timer = Timer(_BROWSER_SECONDS, webbrowser.open, [url])
        timer.daemon = True
        timer.start()
    uvicorn.Server(settings).run(sockets=[socket])
    return 0


def load_model(config: ServerConfig, runtime: Runtime) -> "GameCraftPipeline":
    """The model of the settings, with what the libraries say about it kept from the terminal."""
    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.loading import load_pipeline

    quiet_libraries()
    return load_pipeline(config.model, runtime=runtime)


def url_of(config: ServerConfig, socket: sockets.socket) -> str:
    """The address to open, with the token if there is one."""
    host, port = config.host, socket.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):
        host = sockets.gethostname()
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={config.token}" if config.token else "")
