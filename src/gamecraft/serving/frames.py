"""Binary messages: one picture of the play each, a fixed header and then the encoded picture."""

import enum
import struct
from dataclasses import dataclass
from typing import Self

from gamecraft.errors import InputError

__all__ = ["FRAME_HEADER", "Frame", "FrameFlag", "PictureFormat"]

FRAME_HEADER = struct.Struct("<BBHIIIIIHH")
"""Little endian: kind, format, flags, generation, chunk, frame, input, time, width, height; 28 bytes."""

_KIND = 1


class PictureFormat(enum.IntEnum):
    """How the picture of a frame is encoded."""

    JPEG = 1
    WEBP = 2
    H264 = 3
    """One access unit in Annex B form, which can be decoded after those before it since the last one with ``KEY``."""


class FrameFlag(enum.IntFlag):
    """What a frame is beside a picture of the running play."""

    STILL = 1
    """Where the play stands (after a start, resume, reset, rewind or fork); not a frame of video."""
    REPLAY = 2
    """Shown again because of ``replay``; no input conditioned it now."""
    LAST = 4
    """The last frame of its chunk."""
    KEY = 8
    """A frame of H.264 that can be decoded by itself: the first of each chunk."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture on its way to the player.

    Attributes:
        generation: of the connection, see ``messages.ServerMessage``.
        chunk: number of the chunk it belongs to, from 0; of a still, the number of chunks played.
        frame: number of the frame in the session, from 0; of a still, the number the next frame will have.
        input: ``seq`` of the newest input that conditioned it; 0 if there was none.
        time: milliseconds on the server's clock when the frame was due; only differences mean something.
        width, height: pixels.
        picture: the encoded picture.
    """

    format: PictureFormat
    flags: FrameFlag
    generation: int
    chunk: int
    frame: int
    input: int
    time: int
    width: int
    height: int
    picture: bytes

    def pack(self) -> bytes:
        """The message."""
        header = FRAME_HEADER.pack(
            _KIND,
            self.format,
            self.flags,
            self.generation,
            self.chunk,
            self.frame,
            self.input,
            self.time % 2**32,
            self.width,
            self.height,
        )
        return header + self.picture

    @classmethod
    def unpack(cls, message: bytes) -> Self:
        """The inverse of ``pack``.

        Raises:
            InputError: the message is too short or of another kind.
        """
        if len(message) < FRAME_HEADER.size:
            raise InputError(f"a frame has at least {FRAME_HEADER.size} bytes, received {len(message)}")
        kind, form, flags, generation, chunk, frame, seq, time, width, height = FRAME_HEADER.unpack_from(message)
        if kind != _KIND or form not in list(PictureFormat):
            raise InputError(f"expected a frame of kind {_KIND}, received kind {kind}, format {form}")
        return cls(
            format=PictureFormat(form),
            flags=FrameFlag(flags),
            generation=generation,
            chunk=chunk,
            frame=frame,
            input=seq,
            time=time,
            width=width,
            height=height,
            picture=message[FRAME_HEADER.size :],
        )
