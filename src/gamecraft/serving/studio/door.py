"""Where the studio hangs: under /studio of the server, built when it is first asked for.

Gradio takes seconds to import and is an optional extra, so a server whose studio nobody opens does without it.
"""

import asyncio
import importlib.util
from collections.abc import Callable
from contextlib import AsyncExitStack
from html import escape

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gamecraft.serving.server import NotReadyError

__all__ = ["STUDIO_PATH", "STUDIO_UPLOAD", "StudioDoor"]

STUDIO_PATH = "/studio"
STUDIO_UPLOAD = f"{STUDIO_PATH}/gradio_api/upload"
"""Bounds the bodies it takes by itself."""

_LASTING = f"{STUDIO_PATH}/assets/"  # a hundred files whose names change with their content

# Gradio's page is made of inline scripts and evaluates its event handlers; still nothing comes from elsewhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; media-src 'self' blob: data:; font-src 'self' data:; connect-src 'self' blob: data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>gamecraft studio</title>{head}
<style>body {{ font: 17px/1.6 system-ui, sans-serif; max-width: 38em; margin: 15vh auto; padding: 0 20px }}
:root {{ color-scheme: dark light }}</style>
<h1>{title}</h1><p>{text}</p><p><a href="/">Play without it</a></p></html>"""
_MISSING = _PAGE.format(
    head="",
    title="The studio is not installed",
    text="It needs Gradio. Stop the server, run <code>pip install 'gamecraft[studio]'</code>, and start it again.",
)


class StudioDoor:
    """ASGI middleware that answers everything under ``STUDIO_PATH``.

    Args:
        build: makes an application that has the studio mounted at ``STUDIO_PATH``; called once, in a thread.
    """

    def __init__(self, app: ASGIApp, *, build: Callable[[], FastAPI]) -> None:
        self._app, self._build = app, build
        self._studio: FastAPI | None = None
        self._building = asyncio.Lock()
        self._life = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the studio or to the server."""
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                await self._life.aclose()
        elif scope["type"] != "http" or not (scope["path"] + "/").startswith(STUDIO_PATH + "/"):
            await self._app(scope, receive, send)
        elif importlib.util.find_spec("gradio") is None:
            await HTMLResponse(_MISSING, 501)(scope, receive, send)
        else:
            try:
                studio = await self._ready()
            except NotReadyError as error:
                again = '<meta http-equiv="refresh" content="2">'
                page = _PAGE.format(head=again, title="One moment", text=f"{escape(str(error))}.")
                await HTMLResponse(page, 503)(scope, receive, send)
                return
            await studio(scope, receive, _with_headers(send, lasting=scope["path"].startswith(_LASTING)))

    async def _ready(self) -> FastAPI:
        async with self._building:
            if self._studio is None:
                studio = await asyncio.to_thread(self._build)
                await self._life.enter_async_context(studio.router.lifespan_context(studio))
                self._studio = studio
        return self._studio


def _with_headers(send: Send, *, lasting: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = _POLICY
            if lasting:
                headers["Cache-Control"] = "private, max-age=86400"
        await send(message)

    return sending
