"""The whole server as an ASGI application."""

import importlib.resources
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from gamecraft import __version__
from gamecraft.errors import InputError
from gamecraft.serving.access import AccessControl
from gamecraft.serving.bodies import BodyLimit, TooLargeError
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.docs_page import docs_page
from gamecraft.serving.jobs import Jobs
from gamecraft.serving.rest import rest_router
from gamecraft.serving.server import GameServer, LoadPipeline, NotReadyError
from gamecraft.serving.socket import Connection
from gamecraft.serving.store import ElsewhereError, UnknownIdError
from gamecraft.serving.studio.door import STUDIO_UPLOAD, StudioDoor

__all__ = ["create_app", "page_folder"]

_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_STATUS: tuple[tuple[type[InputError], int, str], ...] = (
    (UnknownIdError, 404, "unknown"),
    (ElsewhereError, 421, "elsewhere"),
    (TooLargeError, 413, "large"),
    (NotReadyError, 503, "model"),
    (InputError, 400, "request"),
)
_MAX_JSON_BYTES = 2**18
_log = logging.getLogger(__name__)


def create_app(config: ServerConfig, load: LoadPipeline) -> FastAPI:
    """A server.

    Args:
        load: gives the pipeline; called once, in the model's thread, when the server starts.

    Raises:
        OSError: the state folder cannot be used.
    """
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)  # ids of sessions are secrets
    server = GameServer(config, load)
    jobs = Jobs(server, config.state / "jobs")

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        jobs.start()
        yield
        await server.stop()

    app = FastAPI(title="gamecraft", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.state.server = server
    app.add_middleware(StudioDoor, build=partial(_studio, server, jobs))
    bounded_elsewhere = ("/api/uploads", "/api/sessions/file", STUDIO_UPLOAD)
    app.add_middleware(BodyLimit, limit=_MAX_JSON_BYTES, exempt=bounded_elsewhere)
    app.add_middleware(AccessControl, config=config)
    app.middleware("http")(_harden)
    app.add_exception_handler(InputError, _input_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.include_router(rest_router(server, jobs))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    @app.websocket("/api/play")
    async def play(socket: WebSocket) -> None:
        await Connection(server, socket).run()

    if page_folder().is_dir():
        app.mount("/", StaticFiles(directory=page_folder(), html=True))
    return app


def _studio(server: GameServer, jobs: Jobs) -> FastAPI:
    from gamecraft.serving.studio.page import build_studio

    return build_studio(server, jobs)


def page_folder() -> Path:
    """Where the page's files are."""
    return Path(str(importlib.resources.files("gamecraft"))) / "serving" / "page"


async def _harden(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    """Headers with which browsers keep other pages and wrong content types out; bugs become one line."""
    try:
        response = await proceed(request)
    except Exception:
        _log.exception("a request failed: %s", request.url.path)
        response = _error(500, "internal", "that failed; the server's log says why")
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    if not request.url.path.startswith("/api/gallery/"):
        response.headers.setdefault("Cache-Control", "no-cache")
    return response


async def _input_error(request: Request, error: Exception) -> Response:
    status, code = next((status, code) for kind, status, code in _STATUS if isinstance(error, kind))
    return _error(status, code, " ".join(str(error).split()))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][:6])
    return _error(400, "request", f"{place}: {first['msg']}")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "unknown" if error.status_code == 404 else "request", str(error.detail))


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message[:500]}}, status)
