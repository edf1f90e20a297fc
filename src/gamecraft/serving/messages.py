"""Every text message of the play protocol, as pydantic models; docs/protocol.md is the same in words.

What a client sends is checked strictly: an unknown field or a value out of range is an error. What the server sends may
gain fields within a version; clients ignore what they do not know.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from gamecraft.controls import MAX_LOOK, MAX_MOVE_SPEED, MAX_TURN_SPEED, Key
from gamecraft.errors import InputError

__all__ = [
    "CLOSE_CODES",
    "MAX_MESSAGE_BYTES",
    "MAX_SAFE_SEED",
    "PROTOCOL_VERSION",
    "Chunk",
    "ClientMessage",
    "Done",
    "Error",
    "ErrorCode",
    "Fork",
    "FrameAction",
    "Hello",
    "Image",
    "Input",
    "Limits",
    "ModelInfo",
    "NewSession",
    "Pause",
    "Picture",
    "Ping",
    "Play",
    "Pong",
    "Progress",
    "Prompt",
    "Queue",
    "Replay",
    "Reset",
    "Resume",
    "Rewind",
    "Save",
    "Saved",
    "Seed",
    "Seen",
    "ServerMessage",
    "SessionSettings",
    "Speed",
    "Start",
    "State",
    "Step",
    "Welcome",
    "parse_client_message",
    "parse_server_message",
]

PROTOCOL_VERSION = 1
MAX_MESSAGE_BYTES = 65_536
MAX_SAFE_SEED = 2**53 - 1
"""Largest seed of the protocol: JavaScript's numbers are exact up to here."""

_Seed = Annotated[int, Field(ge=0, le=MAX_SAFE_SEED)]
_Prompt = Annotated[str, Field(max_length=10_000)]
_Count = Annotated[int, Field(ge=0, lt=2**32)]
_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22,64}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_Look = Annotated[float, Field(ge=-MAX_LOOK, le=MAX_LOOK)]
_Milliseconds = Annotated[float, Field(ge=0, le=2**53)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


# --- from the client -------------------------------------------------------------------------------------------------


class _Request(_Strict):
    id: _Count | None = None
    """Echoed as ``id`` of the answer (``done``, ``saved`` or ``error``)."""


class Hello(_Strict):
    """The first message of a connection."""

    type: Literal["hello"] = "hello"
    version: int
    format: Literal["jpeg", "webp", "h264"] = "jpeg"
    quality: Annotated[int, Field(ge=30, le=100)] = 90


class Image(_Strict):
    """A start picture: the name of a gallery picture, or an upload's id. Exactly one of them."""

    gallery: _Name | None = None
    upload: _Id | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.gallery is None) == (self.upload is None):
            raise ValueError("expected either a gallery picture or an upload")
        return self


class SessionSettings(_Strict):
    """What a session is played with. What is None is the gallery picture's (prompt), random (seed), or the model's."""

    prompt: _Prompt | None = None
    negative_prompt: _Prompt = ""
    seed: _Seed | None = None
    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    guidance: Annotated[float, Field(ge=1, le=20)] | None = None
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class NewSession(SessionSettings):
    """How a session begins."""

    image: Image


class Start(NewSession, _Request):
    """Begin a new session."""

    type: Literal["start"] = "start"
    playing: bool = True


class Resume(_Request):
    """Go on with a session: after a lost connection, or one from the list."""

    type: Literal["resume"] = "resume"
    session: _Id


class Input(_Strict):
    """What is held now, and the mouse motion since the last input.

    ``seq`` grows with every input of a connection; ``time`` is milliseconds on a clock of the client that never goes
    back; ``look`` is (yaw to the right, pitch upwards) in radians.
    """

    type: Literal["input"] = "input"
    seq: Annotated[int, Field(ge=1, lt=2**32)]
    time: _Milliseconds
    keys: Annotated[list[Key], Field(max_length=len(Key), strict=False)] = []
    look: tuple[_Look, _Look] = Field(default=(0.0, 0.0), strict=False)


class Speed(_Request):
    """Metres and radians per frame for what is held from now on; None leaves it."""

    type: Literal["speed"] = "speed"
    move_speed: Annotated[float, Field(ge=0, le=MAX_MOVE_SPEED)] | None = None
    turn_speed: Annotated[float, Field(ge=0, le=MAX_TURN_SPEED)] | None = None


class Prompt(_Request):
    """Another prompt from the next chunk on."""

    type: Literal["prompt"] = "prompt"
    prompt: _Prompt


class Seed(_Request):
    """Another seed from the next chunk on; None is a random one."""

    type: Literal["seed"] = "seed"
    seed: _Seed | None = None


class Pause(_Request):
    """Make no more chunks until ``play`` or ``step``."""

    type: Literal["pause"] = "pause"


class Play(_Request):
    """Make chunks again."""

    type: Literal["play"] = "play"


class Step(_Request):
    """Make one chunk with what is held, and pause."""

    type: Literal["step"] = "step"


class Reset(_Request):
    """Back to the start, which stays as it was but for a seed or prompt given here."""

    type: Literal["reset"] = "reset"
    seed: _Seed | None = None
    prompt: _Prompt | None = None


class Rewind(_Request):
    """Back to when ``chunks`` chunks had been played; pauses."""

    type: Literal["rewind"] = "rewind"
    chunks: _Count


class Fork(_Request):
    """Go on in a copy that stands after ``chunks`` chunks (all if None); the session itself is kept. Pauses."""

    type: Literal["fork"] = "fork"
    chunks: _Count | None = None


class Save(_Request):
    """Write the session to disk now and keep it. Answered by ``saved``."""

    type: Literal["save"] = "save"
    name: Annotated[str, Field(max_length=80)] = ""


class Replay(_Request):
    """Show the chunks from ``first_chunk`` on once more; any input, ``play`` or ``pause`` ends it."""

    type: Literal["replay"] = "replay"
    first_chunk: _Count = 0


class Seen(_Strict):
    """The newest frame on the screen. A client that sends this, about once a chunk or more often, is never sent much
    more than it can show; the server also measures latency with it."""

    type: Literal["seen"] = "seen"
    generation: _Count
    frame: _Count


class Ping(_Strict):
    """Answered by ``pong`` at once."""

    type: Literal["ping"] = "ping"
    time: _Milliseconds


ClientMessage = Annotated[
    Hello
    | Start
    | Resume
    | Input
    | Speed
    | Prompt
    | Seed
    | Pause
    | Play
    | Step
    | Reset
    | Rewind
    | Fork
    | Save
    | Replay
    | Seen
    | Ping,
    Field(discriminator="type"),
]


# --- from the server -------------------------------------------------------------------------------------------------


class _Reply(_Loose):
    generation: int = 0
    """Grows by one whenever what is shown jumps: start, resume, reset, rewind, fork, replay. The first message of a new
    generation is a ``state``; whatever arrives with an older number is stale."""


class ModelInfo(_Loose):
    """What the model makes: pictures of height x width pixels, ``chunk_frames`` at a time, ``fps`` per second."""

    name: str
    height: int
    width: int
    chunk_frames: int
    fps: int
    steps: int
    guidance: float


class Picture(_Loose):
    """A start picture of the gallery; ``url`` is a path on this server."""

    name: str
    prompt: str
    url: str


class Limits(_Loose):
    """What the server accepts."""

    upload_bytes: int
    upload_pixels: int
    prompt_characters: int = 10_000
    max_move_speed: float = MAX_MOVE_SPEED
    max_turn_speed: float = MAX_TURN_SPEED
    max_chunks: int
    inputs_per_second: int
    """More are refused with ``rate``; 60 evenly spaced ones never are."""


class Welcome(_Reply):
    """The answer to ``hello``, once the model is ready."""

    type: Literal["welcome"] = "welcome"
    version: int = PROTOCOL_VERSION
    server: str
    model: ModelInfo
    format: Literal["jpeg", "webp", "h264"]
    formats: list[str] = ["jpeg", "webp", "h264"]
    gallery: list[Picture]
    limits: Limits
    replicas: int = 1
    """Servers behind this address; with more than one, connect with ``?session=ID`` to resume a session."""


class State(_Reply):
    """All about the session, after every change of it.

    Attributes:
        session: its id, to ``resume`` with; a secret of the player.
        chunks: how many have been played.
        playing: whether chunks are being made.
        paused: why not: by the ``player``, ``idle`` (no input for long; any input goes on), ``full`` (as long as a
            session can be: rewind or start anew), ``replay`` (the past is being shown).
        move_speed, turn_speed: metres and radians per frame.
        name: given with ``save``.
    """

    type: Literal["state"] = "state"
    session: str
    chunks: int
    playing: bool
    paused: Literal["player", "idle", "full", "replay"] | None = None
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    smoothing: float
    move_speed: float
    turn_speed: float
    name: str = ""


class FrameAction(_Loose):
    """What conditioned one frame, with the newest input it takes into account (0: none)."""

    input: int
    keys: list[Key]
    look: tuple[float, float]


class Chunk(_Reply):
    """Sent before the frames of a chunk: which inputs conditioned which frame, and how long it took to make."""

    type: Literal["chunk"] = "chunk"
    chunk: int
    first_frame: int
    frames: list[FrameAction]
    seconds: float
    replay: bool = False


class Progress(_Reply):
    """How far something is, ``done`` of ``total``: ``loading`` the model, a ``chunk`` being made, ``restoring`` a
    session whose chunks have to be made again."""

    type: Literal["progress"] = "progress"
    what: Literal["loading", "chunk", "restoring"]
    done: int
    total: int


class Queue(_Reply):
    """The server is full: ``position`` in the line, from 1, of ``waiting``. A ``welcome`` ends the wait."""

    type: Literal["queue"] = "queue"
    position: int
    waiting: int
    players: int


class Done(_Reply):
    """A request with an ``id`` has been carried out."""

    type: Literal["done"] = "done"
    id: int


class Saved(_Reply):
    """The session is on disk; its file can be had at ``url``."""

    type: Literal["saved"] = "saved"
    id: int | None = None
    session: str
    name: str
    url: str


class Pong(_Reply):
    """The answer to ``ping``: its time, and the server's own clock in milliseconds."""

    type: Literal["pong"] = "pong"
    time: float
    server_time: float


ErrorCode = Literal[
    "version", "message", "request", "unknown", "elsewhere", "rate", "full", "taken", "slow", "model", "internal"
]

CLOSE_CODES: dict[ErrorCode, int] = {
    "version": 1008,
    "message": 1008,
    "rate": 1008,
    "full": 1013,
    "slow": 1013,
    "taken": 4001,
    "model": 1011,
    "internal": 1011,
}
"""With which the connection is closed after an error that is fatal."""


class Error(_Reply):
    """Something could not be done. ``fatal`` means that the connection ends; otherwise all is as it was before.

    Codes: ``version`` (this protocol version is not spoken), ``message`` (not a valid message), ``request`` (not
    possible now or with this model), ``unknown`` (no such session, picture or upload), ``rate`` (too many messages),
    ``full`` (no place, not even in the line), ``taken`` (the session is played from another connection now), ``slow``
    (the client does not read), ``model`` (no model could be loaded), ``internal`` (our mistake; it has been logged).
    """

    type: Literal["error"] = "error"
    id: int | None = None
    code: ErrorCode
    message: str
    fatal: bool = False


ServerMessage = Annotated[
    Welcome | State | Chunk | Progress | Queue | Done | Saved | Pong | Error, Field(discriminator="type")
]

_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)


def parse_client_message(text: str | bytes) -> ClientMessage:
    """A message from its JSON text.

    Raises:
        InputError: it is too long, not JSON, or not a valid message; the text says where, in one line.
    """
    if len(text) > MAX_MESSAGE_BYTES:
        raise InputError(f"the message is {len(text)} long, expected at most {MAX_MESSAGE_BYTES}")
    try:
        return _CLIENT.validate_json(text)
    except ValidationError as error:
        raise InputError(_first_error(error)) from None


def parse_server_message(text: str | bytes) -> ServerMessage:
    """A server's message from its JSON text.

    Raises:
        InputError: it is not one of this protocol version.
    """
    try:
        return _SERVER.validate_json(text)
    except ValidationError as error:
        raise InputError(f"the server sent something unexpected: {_first_error(error)}") from None


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"][:6])
    more = "" if error.error_count() == 1 else f" (and {error.error_count() - 1} more)"
    return f"{place or 'message'}: {first['msg']}{more}"[:300].replace("\n", " ")
