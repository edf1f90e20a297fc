"""What a server is started with."""

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from gamecraft.errors import InputError
from gamecraft.serving.shards import Shard

__all__ = ["ServerConfig", "default_state_folder", "is_loopback"]


def default_state_folder() -> Path:
    """Where sessions are kept if nothing else is said: the user's state folder."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "gamecraft"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of a server; the defaults suit one person or a few on one machine.

    Attributes:
        host, port: where it listens.
        token: what others have to show; needed unless ``host`` is a loopback address.
        origins: pages of other servers that may use this one, such as ``https://play.example.org``.
        state: folder for sessions, uploads and videos.
        model: model folder; the embedded model if None.
        max_players: connections that play at a time. max_waiting: and wait in line for a place.
        max_sessions: sessions kept on disk; beyond, the oldest that nobody named or plays is removed.
        session_bytes: memory for the latents of one session, which bounds its length.
        session_file_bytes: largest session file that can be uploaded.
        upload_bytes, upload_pixels: largest picture that can be uploaded.
        max_uploads: pictures kept. max_jobs: videos made or waiting to be made.
        idle_seconds: without input after which play pauses.
        away_seconds: without input or requests after which a place is given to the next in line, if there is one.
        park_seconds: after which a session nobody is connected to is taken out of memory.
        save_seconds: a session that is played is written to disk about this often.
        hello_seconds: for a new connection to say hello.
        inputs_per_second: of one connection, on average.
        shard: which of several replicas that share ``state`` this is.

    Raises:
        InputError: a host that others can reach, without a token of at least 16 characters; an origin that is none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    origins: tuple[str, ...] = ()
    state: Path = field(default_factory=default_state_folder)
    model: Path | None = None
    max_players: int = 4
    max_waiting: int = 16
    max_sessions: int = 200
    session_bytes: int = 2**30
    session_file_bytes: int = 2**30 + 2**26
    upload_bytes: int = 16 * 2**20
    upload_pixels: int = 40_000_000
    max_uploads: int = 200
    max_jobs: int = 50
    idle_seconds: float = 120.0
    away_seconds: float = 600.0
    park_seconds: float = 30.0
    save_seconds: float = 5.0
    hello_seconds: float = 10.0
    inputs_per_second: int = 120
    shard: Shard = field(default_factory=Shard)

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise InputError(f"others can reach {self.host}; give a token, or bind to 127.0.0.1")
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")):
                raise InputError(f"{origin!r:.60} is no origin; expected an address such as https://play.example.org")
        if self.token is not None and (
            len(self.token) < 16 or not self.token.isascii() or not self.token.isprintable()
        ):
            raise InputError("the token must have at least 16 printable ASCII characters")
