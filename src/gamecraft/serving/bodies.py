"""Request bodies, never larger than they may be."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.requests import Request

from gamecraft.errors import InputError

__all__ = ["TooLargeError", "body_bytes", "body_file"]


class TooLargeError(InputError):
    """A request's body is larger than the server accepts."""


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
    text = f"the body is larger than {limit} bytes"
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise TooLargeError(text)
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > limit:
            raise TooLargeError(text)
        yield piece
