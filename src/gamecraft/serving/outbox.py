"""What is to be sent to one client: all text in order, and as many of the newest frames as it can take."""

import asyncio
from collections import deque

from pydantic import BaseModel

from gamecraft.serving.frames import Frame, FrameFlag
from gamecraft.serving.messages import CLOSE_CODES

__all__ = ["Outbox"]

_MAX_TEXTS = 1000


class Outbox:
    """A bounded queue with one reader.

    Args:
        max_frames: frames kept; the oldest are dropped for new ones.
        window: frames that may be on their way beyond the newest one seen, for clients that report it.

    Attributes:
        dropped: frames so far that were never sent.
    """

    def __init__(self, *, max_frames: int, window: int) -> None:
        self.dropped = 0
        self._max_frames, self._window = max_frames, window
        self._texts: deque[tuple[int, str]] = deque()
        self._frames: deque[tuple[int, Frame]] = deque()
        self._on_way: deque[tuple[int, int]] | None = None  # (generation, frame), known once the client reports
        self._count = 0
        self._changed = asyncio.Event()
        self._close_code: int | None = None

    def resize(self, *, max_frames: int, window: int) -> None:
        """Other bounds, before the first frame."""
        self._max_frames, self._window = max_frames, window

    @property
    def waiting_frames(self) -> int:
        """Frames not yet sent."""
        return len(self._frames)

    def put(self, message: BaseModel) -> None:
        """Add a text message."""
        if len(self._texts) < _MAX_TEXTS:
            self._texts.append((self._tick(), message.model_dump_json()))
        else:  # it has not read for very long
            self._texts.clear()
            self.close(CLOSE_CODES["slow"])
        self._changed.set()

    def put_frame(self, frame: Frame) -> None:
        """Add a frame."""
        while len(self._frames) >= self._max_frames:
            self._frames.popleft()
            self.dropped += 1
        self._frames.append((self._tick(), frame))
        self._changed.set()

    def drop_frames(self) -> None:
        """A new generation begins: what has not been sent yet is stale."""
        self._frames.clear()
        if self._on_way is not None:
            self._on_way.clear()
        self._changed.set()

    def seen(self, generation: int, frame: int) -> None:
        """The client shows this frame."""
        if self._on_way is None:
            self._on_way = deque()
        while self._on_way and self._on_way[0] <= (generation, frame):
            self._on_way.popleft()
        self._changed.set()

    def close(self, code: int) -> None:
        """End with what has been put so far; the first code given counts."""
        self._close_code = code if self._close_code is None else self._close_code
        self._changed.set()

    async def get(self) -> str | Frame | int:
        """The next message, as soon as there is one that may be sent; after the last one the code to close with."""
        while True:
            frame_first = self._frames and (not self._texts or self._frames[0][0] < self._texts[0][0])
            blocked = self._on_way is not None and len(self._on_way) >= self._window
            if frame_first and not blocked:
                frame = self._frames.popleft()[1]
                if self._on_way is not None and FrameFlag.STILL not in frame.flags:
                    self._on_way.append((frame.generation, frame.frame))
                return frame
            if self._texts:
                return self._texts.popleft()[1]
            if self._close_code is not None:
                return self._close_code
            self._changed.clear()
            await self._changed.wait()

    def _tick(self) -> int:
        self._count += 1
        return self._count
