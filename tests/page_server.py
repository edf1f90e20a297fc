"""The real server in a thread of the tests' process, so that it can be stopped and started again."""

import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.app import create_app
from gamecraft.serving.config import ServerConfig


class PageServer:
    """Serves a pipeline on a free port of this machine; ``stop`` and ``start`` keep port and state folder."""

    def __init__(self, pipe: GameCraftPipeline, state: Path) -> None:
        self._pipe, self._state = pipe, state
        self.may_load = threading.Event()
        """Cleared, the model takes until it is set to load."""
        self.may_load.set()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Serve; returns when the page can be fetched."""
        config = ServerConfig(port=self.port, state=self._state)
        app = create_app(config, self._load)
        options = uvicorn.Config(app, port=self.port, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.02)

    def _load(self) -> GameCraftPipeline:
        self.may_load.wait()
        return self._pipe

    def stop(self) -> None:
        """End; sessions are on disk then."""
        self.may_load.set()  # or the model's thread would never end
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
