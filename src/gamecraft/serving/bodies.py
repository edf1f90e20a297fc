"""Request bodies, never larger than they may be."""

import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gamecraft.errors import InputError

__all__ = ["BodyLimit", "TooLargeError", "body_bytes", "body_file"]


class TooLargeError(InputError):
    """A request's body is larger than the server accepts."""


class BodyLimit:
    """ASGI middleware that bounds the bodies of all paths but those that bound theirs themselves."""

    def __init__(self, app: ASGIApp, *, limit: int, exempt: Collection[str]) -> None:
        self._app, self._limit, self._exempt = app, limit, exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through whose body breaks off if it is too large."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise TooLargeError(_text(self._limit))
            return message

        await self._app(scope, bounded, send)


async def body_bytes(request: Request, limit: int) -> bytes:
    """The body. Raises TooLargeError as soon as it is known to be larger than ``limit`` bytes."""
    return b"".join([piece async for piece in _pieces(request, limit)])


@asynccontextmanager
async def body_file(request: Request, limit: int, folder: Path) -> AsyncIterator[Path]:
    """The body in a temporary file of ``folder``, which is removed at the end unless it has been moved away.

    Raises:
        TooLargeError: as soon as the body is known to be larger than ``limit`` bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".body-", suffix=".tmp", delete=False) as file:
        path = Path(file.name)
        try:
            async for piece in _pieces(request, limit):
                file.write(piece)
            file.flush()
            yield path
        finally:
            path.unlink(missing_ok=True)


async def _pieces(request: Request, limit: int) -> AsyncIterator[bytes]:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise TooLargeError(_text(limit))
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > limit:
            raise TooLargeError(_text(limit))
        yield piece


def _text(limit: int) -> str:
    return f"the body is larger than {limit} bytes"
