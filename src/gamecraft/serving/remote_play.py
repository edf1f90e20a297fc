"""Playing on a server from Python: for bots, measurements and other programs."""

import io
import json
import socket as sockets
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from gamecraft.errors import GameCraftError, InputError
from gamecraft.serving.frames import Frame, FrameFlag, PictureFormat
from gamecraft.serving.messages import (
    Chunk,
    ClientMessage,
    Done,
    Error,
    Hello,
    Saved,
    Seen,
    ServerMessage,
    State,
    Welcome,
    parse_client_message,
    parse_server_message,
)

__all__ = ["ConnectionLostError", "RemoteChunk", "RemotePlay", "decode_frame"]

_T = TypeVar("_T", bound=BaseModel)


class ConnectionLostError(GameCraftError):
    """The server is not there, does not let us in, or has ended the connection."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteChunk:
    """A chunk that was made for us: what conditioned it, and its frames uint8 [F, H, W, 3]."""

    message: Chunk
    frames: NDArray[np.uint8]


def decode_frame(frame: Frame) -> NDArray[np.uint8]:
    """The picture of a frame, uint8 [H, W, 3].

    Raises:
        InputError: it is H.264, whose frames cannot be decoded one by one.
    """
    if frame.format is PictureFormat.H264:
        raise InputError("the frame is H.264; ask for jpeg or webp in hello, or decode the chunk as video")
    return np.array(Image.open(io.BytesIO(frame.picture), formats=("JPEG", "WEBP")).convert("RGB"))


class RemotePlay:
    """A connection to a server, as a context manager; used from one thread.

    Attributes:
        welcome: what the server said about itself.
        state: the newest ``state``, or None before the first session.
    """

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = 60.0, hello: Hello | None = None
    ) -> None:
        """Connect and wait for a place, at most ``timeout`` seconds; so long also for every answer.

        Args:
            url: of the WebSocket, such as ``ws://127.0.0.1:8000/api/play``.

        Raises:
            ConnectionLostError: there is no such server, or it does not let us in.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._timeout = timeout
        self._stack = ExitStack()
        self._kept: deque[ServerMessage | Frame] = deque()
        self._seq = self._ids = 0
        self._moment = time.monotonic()
        self.state: State | None = None
        try:
            self._socket: ClientConnection = self._stack.enter_context(
                connect(url, additional_headers=headers, open_timeout=timeout, max_size=2**26, compression=None)
            )
        except (OSError, InvalidHandshake, TimeoutError, ValueError) as error:
            raise ConnectionLostError(f"cannot connect to {url}: {error}") from None
        try:
            self._send(hello or Hello(version=1))
            self.welcome = self._wait_for(Welcome)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave; the session stays on the server."""
        self._stack.close()

    def abort(self) -> None:
        """Cut the connection without a goodbye, as a network that fails does."""
        with suppress(OSError):
            self._socket.socket.shutdown(sockets.SHUT_RDWR)

    # --- asking ------------------------------------------------------------------------------------------------------

    def request(self, type: str, **fields: Any) -> Done | Saved:
        """Send any request of the protocol and wait for its answer, as ``request("rewind", chunks=3)``.

        Raises:
            InputError: it is not valid, or the server could not do it.
            ConnectionLostError: the connection ended.
        """
        self._ids += 1
        id = self._ids
        values = {name: value for name, value in fields.items() if value is not None}
        self._send(parse_client_message(json.dumps({"type": type, "id": id, **values})))

        def answers(item: ServerMessage | Frame) -> bool:
            return isinstance(item, Done | Saved | Error) and item.id == id

        answer = self._wait(answers)
        if isinstance(answer, Error):
            raise InputError(answer.message)
        assert isinstance(answer, Done | Saved)
        return answer

    def start(self, image: str, *, upload: bool = False, playing: bool = False, **settings: Any) -> State:
        """Begin a session.

        Args:
            image: name of a gallery picture, or with ``upload`` the id of an uploaded one.
            playing: let the server make chunks at its own pace, for ``receive``; otherwise one for each ``step``.
            settings: further fields of ``messages.NewSession``: prompt, seed, steps, ...
        """
        self.request("start", image={"upload" if upload else "gallery": image}, playing=playing, **settings)
        assert self.state is not None
        return self.state

    def hold(self, keys: Iterable[str] = (), look: tuple[float, float] = (0.0, 0.0)) -> int:
        """Hold these keys from now on, and move the mouse by ``look`` (yaw to the right, pitch up, radians) once.

        Returns:
            the input's number, which ``Chunk.frames`` refers to.
        """
        self._seq += 1
        milliseconds = (time.monotonic() - self._moment) * 1000
        values = {"seq": self._seq, "time": milliseconds, "keys": sorted(keys), "look": list(look)}
        self._send(parse_client_message(json.dumps({"type": "input", **values})))
        return self._seq

    def step(self) -> RemoteChunk:
        """Have one chunk made with what is held.

        Raises:
            InputError: that is not possible now.
            ConnectionLostError: the connection ended.
        """
        self._kept.clear()
        self.request("step")
        messages = [item for item in self._kept if isinstance(item, Chunk)]
        frames = [item for item in self._kept if isinstance(item, Frame) and FrameFlag.STILL not in item.flags]
        self._kept.clear()
        if not messages:
            raise InputError("the server made no chunk; the session is as long as it can be")
        while not frames or FrameFlag.LAST not in frames[-1].flags:
            item = self._receive(self._timeout)
            if isinstance(item, Frame):
                frames.append(item)
        return RemoteChunk(message=messages[-1], frames=np.stack([decode_frame(frame) for frame in frames]))

    # --- listening ---------------------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> ServerMessage | Frame:
        """The next message or frame, in order; frames are reported as seen.

        Raises:
            TimeoutError: nothing came for ``timeout`` seconds.
            ConnectionLostError: the connection ended.
        """
        if self._kept:
            return self._kept.popleft()
        return self._receive(self._timeout if timeout is None else timeout)

    def _receive(self, timeout: float) -> ServerMessage | Frame:
        try:
            data = self._socket.recv(timeout)
        except ConnectionClosed as error:
            raise ConnectionLostError(f"the server ended the connection: {error}") from None
        if isinstance(data, bytes):
            frame = Frame.unpack(data)
            if FrameFlag.STILL not in frame.flags:
                self._send(Seen(generation=frame.generation, frame=frame.frame))
            return frame
        message = parse_server_message(data)
        if isinstance(message, State):
            self.state = message
        if isinstance(message, Error) and message.fatal:
            raise ConnectionLostError(message.message)
        return message

    def _wait(self, wanted: Callable[[ServerMessage | Frame], bool]) -> ServerMessage | Frame:
        """The first message that is wanted; what comes before it is kept for ``receive``."""
        end = time.monotonic() + self._timeout
        while True:
            try:
                item = self._receive(max(0.0, end - time.monotonic()))
            except TimeoutError:
                raise ConnectionLostError(f"the server did not answer within {self._timeout:g} seconds") from None
            if wanted(item):
                return item
            self._kept.append(item)

    def _wait_for(self, kind: type[_T]) -> _T:
        found = self._wait(lambda item: isinstance(item, kind))
        assert isinstance(found, kind)
        return found

    def _send(self, message: ClientMessage) -> None:
        try:
            self._socket.send(message.model_dump_json())
        except ConnectionClosed as error:
            raise ConnectionLostError(f"the server ended the connection: {error}") from None
