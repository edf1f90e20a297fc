"""The WebSocket: hello, a place, then messages until one side ends it."""

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Literal

from starlette.websockets import WebSocket, WebSocketDisconnect

from gamecraft.errors import GameCraftError, InputError
from gamecraft.gallery import gallery
from gamecraft.serving.encoding import choose_format
from gamecraft.serving.frames import Frame, FrameFlag, PictureFormat
from gamecraft.serving.lobby import FullError
from gamecraft.serving.messages import (
    CLOSE_CODES,
    PROTOCOL_VERSION,
    ClientMessage,
    Error,
    ErrorCode,
    Hello,
    Input,
    Limits,
    Picture,
    Ping,
    Play,
    Pong,
    Progress,
    Queue,
    Seen,
    Welcome,
    parse_client_message,
)
from gamecraft.serving.outbox import Outbox
from gamecraft.serving.player import Player, Request
from gamecraft.serving.rate import RateLimit
from gamecraft.serving.server import GameServer
from gamecraft.serving.store import ElsewhereError, UnknownIdError

__all__ = ["Connection", "gallery_pictures"]

_MAX_REQUESTS = 32  # waiting to be carried out
_MAX_REFUSED = 1000  # messages beyond the rate, before the connection is closed
_LOADING_SECONDS = 0.25  # between looks at how far the model is
_FIRST_FRAMES = 64  # kept for a client before the model, so the length of a chunk, is known

_FORMAT_NAMES: dict[PictureFormat, Literal["jpeg", "webp", "h264"]] = {
    PictureFormat.JPEG: "jpeg",
    PictureFormat.WEBP: "webp",
    PictureFormat.H264: "h264",
}
_log = logging.getLogger(__name__)


class _EndError(Exception):
    """The connection is over; what was to be said about it is in the outbox."""


class Connection:
    """One WebSocket, from its acceptance to its end."""

    def __init__(self, server: GameServer, socket: WebSocket) -> None:
        self._server, self._socket = server, socket
        self._outbox = Outbox(max_frames=_FIRST_FRAMES, window=_FIRST_FRAMES)
        self._player: Player | None = None
        self._requests: asyncio.Queue[Request] = asyncio.Queue(_MAX_REQUESTS)
        rate = server.config.inputs_per_second
        self._rate = RateLimit(rate, 2 * rate, time.monotonic)
        self._refused = 0

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._socket.accept()
        ended = asyncio.Event()
        self._server.spawn(self._run(ended))  # a task of its own, which cleans up even if this one is cancelled
        try:
            await ended.wait()
        finally:
            self._outbox.close(1000)

    async def _run(self, ended: asyncio.Event) -> None:
        sender = asyncio.create_task(self._send())
        others: list[asyncio.Task[None]] = []
        try:
            hello = await self._hello()
            reader = asyncio.create_task(self._read())
            others = [reader, asyncio.create_task(self._serve(hello))]
            await asyncio.wait([sender, *others], return_when=asyncio.FIRST_COMPLETED)
        except _EndError:
            pass
        except asyncio.CancelledError:  # the server stops
            self._outbox.close(1012)
            raise
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            if not sender.done():  # give it a moment to say why it ends
                self._outbox.close(1000)
                await asyncio.wait([sender], timeout=2)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            ended.set()

    # --- in ----------------------------------------------------------------------------------------------------------

    async def _receive(self) -> ClientMessage:
        """The next valid message; what is not valid is answered here.

        Raises:
            WebSocketDisconnect: the client has gone.
        """
        while True:
            data = await self._socket.receive()
            if data["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(data.get("code", 1005))
            if not self._rate.allow():
                self._refuse_rate()
                continue
            try:
                if data.get("text") is None:
                    raise InputError("clients send text messages only")
                return parse_client_message(data["text"])
            except InputError as error:
                self._fail("message", str(error), id=_request_id(data.get("text")))

    async def _hello(self) -> Hello:
        """The first message.

        Raises:
            _EndError: it did not come, or is not what was expected.
        """
        try:
            message = await asyncio.wait_for(self._receive(), self._server.config.hello_seconds)
        except TimeoutError:
            self._fail("message", "expected hello within some seconds", fatal=True)
            raise _EndError from None
        except WebSocketDisconnect:
            raise _EndError from None
        if not isinstance(message, Hello):
            self._fail("message", "expected hello as the first message", fatal=True)
            raise _EndError
        if message.version != PROTOCOL_VERSION:
            text = f"version {message.version} of the protocol is not spoken here, only {PROTOCOL_VERSION}"
            self._fail("version", text, fatal=True)
            raise _EndError
        return message

    async def _read(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                self._take(await self._receive())

    def _take(self, message: ClientMessage) -> None:
        player = self._player
        match message:
            case Ping(time=sent):
                self._outbox.put(Pong(generation=self._generation, time=sent, server_time=time.monotonic() * 1000))
            case Hello():
                self._fail("request", "hello has been said")
            case Input() if player is not None:
                if player.input(message) and self._requests.empty():
                    self._requests.put_nowait(Play())
            case Seen() if player is not None:
                player.seen(message)
            case _ if player is None:
                self._fail("request", "wait for welcome first", id=getattr(message, "id", None))
            case Input() | Seen():
                raise AssertionError("handled above")
            case _:
                try:
                    self._requests.put_nowait(message)
                except asyncio.QueueFull:
                    self._fail("rate", "too many requests are waiting", id=message.id)

    # --- a place, and the play ---------------------------------------------------------------------------------------

    async def _serve(self, hello: Hello) -> None:
        def on_position(position: int, waiting: int) -> None:
            self._outbox.put(Queue(position=position, waiting=waiting, players=self._server.lobby.playing))

        try:
            async with self._server.lobby.place(on_position):
                await self._play(hello)
        except FullError as error:
            self._fail("full", str(error), fatal=True)

    async def _play(self, hello: Hello) -> None:
        server = self._server
        told = -1
        while not server.ready.is_set():
            if server.steps_loaded != told:
                told = server.steps_loaded
                self._outbox.put(Progress(what="loading", done=told, total=server.LOADING_STEPS))
            with suppress(TimeoutError):
                await asyncio.wait_for(server.ready.wait(), _LOADING_SECONDS)
        if server.failure is not None:
            self._fail("model", server.failure, fatal=True)
            return
        model = server.model_info()
        self._outbox.resize(max_frames=2 * model.chunk_frames, window=2 * model.chunk_frames)
        self._player = player = Player(server, self._outbox, hello)
        server.on_chores.add(self._give_way)
        try:
            self._outbox.put(self._welcome(hello))
            while True:
                await self._do(player, await self._requests.get())
        finally:
            server.on_chores.discard(self._give_way)
            await player.leave()

    def _give_way(self) -> None:
        """End if others wait for the place of a player who seems to have gone away."""
        player, server = self._player, self._server
        if player is None or player.stage.paused is None or not server.lobby.waiting:
            return
        if time.monotonic() - player.stage.track.active > server.config.away_seconds:
            self._fail("full", "others are waiting for a place, and nothing was done here for long", fatal=True)

    async def _do(self, player: Player, request: Request) -> None:
        try:
            await player.do(request)
        except UnknownIdError as error:
            self._fail("unknown", str(error), id=request.id)
        except ElsewhereError as error:
            self._fail("elsewhere", str(error), id=request.id)
        except GameCraftError as error:
            self._fail("request", str(error), id=request.id)
        except Exception:
            _log.exception("a request failed: %s", request.type)
            self._fail("internal", "that failed; the server's log says why", id=request.id)

    def _welcome(self, hello: Hello) -> Welcome:
        from gamecraft import __version__

        config = self._server.config
        limits = Limits(
            upload_bytes=config.upload_bytes,
            upload_pixels=config.upload_pixels,
            max_chunks=self._server.max_chunks,
            inputs_per_second=config.inputs_per_second,
        )
        model = self._server.model_info()
        return Welcome(
            server=__version__,
            model=model,
            format=_FORMAT_NAMES[choose_format(hello.format, model.height, model.width)],
            gallery=gallery_pictures(),
            limits=limits,
            replicas=config.shard.count,
        )

    # --- out ---------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        metrics = self._server.metrics
        dropped = 0
        with suppress(WebSocketDisconnect, RuntimeError):  # the latter when it was closed meanwhile
            while True:
                item = await self._outbox.get()
                if isinstance(item, int):
                    await self._socket.close(item)
                    return
                if isinstance(item, str):
                    await self._socket.send_text(item)
                    continue
                await self._socket.send_bytes(item.pack())
                self._note_sent(item)
                metrics.frames_dropped.inc(self._outbox.dropped - dropped)
                dropped = self._outbox.dropped

    def _note_sent(self, frame: Frame) -> None:
        if FrameFlag.STILL not in frame.flags:
            self._server.metrics.frames_sent.inc()
        if self._player is not None:
            self._player.stage.latency.sent(frame.generation, frame.frame, time.monotonic())

    @property
    def _generation(self) -> int:
        return self._player.stage.generation if self._player else 0

    def _fail(self, code: ErrorCode, text: str, *, id: int | None = None, fatal: bool = False) -> None:
        self._server.metrics.errors.labels(code).inc()
        line = " ".join(text.split())[:500]
        self._outbox.put(Error(generation=self._generation, id=id, code=code, message=line, fatal=fatal))
        if fatal:
            self._outbox.close(CLOSE_CODES[code])

    def _refuse_rate(self) -> None:
        self._refused += 1
        if self._refused % 100 == 1:
            text = f"more than {self._server.config.inputs_per_second} messages per second; some are ignored"
            self._fail("rate", text, fatal=self._refused > _MAX_REFUSED)


def gallery_pictures() -> list[Picture]:
    """The start pictures as clients see them."""
    pictures = gallery().values()
    return [Picture(name=one.name, prompt=one.caption_long, url=f"/api/gallery/{one.name}.png") for one in pictures]


def _request_id(text: str | None) -> int | None:
    """The id of a message that is not valid, if it can be found."""
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    found = value.get("id") if isinstance(value, dict) else None
    return found if type(found) is int and 0 <= found < 2**32 else None
