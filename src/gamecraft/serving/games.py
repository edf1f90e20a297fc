"""Sessions as the server keeps them: with an id nobody can guess, a name, and a place on disk."""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.controls import DEFAULT_MOVE_SPEED, DEFAULT_TURN_SPEED, MAX_MOVE_SPEED, MAX_TURN_SPEED
from gamecraft.errors import InputError
from gamecraft.serving.ids import new_id
from gamecraft.session import Session

__all__ = ["Entry", "Game", "read_entry"]

_MAX_NAME = 80


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the list of sessions shows; kept beside each session's file.

    Attributes:
        kept: saved by the player, so never removed by itself.
        changed: seconds since 1970.
    """

    session: str
    name: str = ""
    kept: bool = False
    chunks: int
    prompt: str
    seed: int
    changed: float

    def to_json(self) -> str:
        """The content of the entry's file."""
        return json.dumps(dataclasses.asdict(self))


def read_entry(path: Path) -> Entry:
    """The inverse of ``Entry.to_json``, for a file.

    Raises:
        InputError: it cannot be read or is no entry.
    """
    try:
        entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not an entry: {error}") from None
    expected = {"session": str, "name": str, "kept": bool, "chunks": int, "prompt": str, "seed": int, "changed": float}
    if any(type(getattr(entry, name)) is not kind for name, kind in expected.items()) or entry.session != path.stem:
        raise InputError(f"{path} is not an entry")
    return entry


@dataclass(kw_only=True, eq=False)
class Game:
    """A session in memory.

    Attributes:
        picture: what it shows now, uint8 [H, W, 3].
        move_speed, turn_speed: metres and radians per frame of keys.
        changed: seconds since 1970.
        dirty: whether the file on disk is older than the session.
        player: the connection that has it, or None. released: monotonic time when the last one left it, and
            was_playing: whether chunks were being made then.
    """

    session: Session
    picture: NDArray[np.uint8]
    id: str = field(default_factory=new_id)
    name: str = ""
    kept: bool = False
    move_speed: float = DEFAULT_MOVE_SPEED
    turn_speed: float = DEFAULT_TURN_SPEED
    changed: float = field(default_factory=time.time)
    dirty: bool = True
    player: object | None = None
    released: float = field(default_factory=time.monotonic)
    was_playing: bool = False

    def touch(self) -> None:
        """Note that the session is not as on disk any more."""
        self.changed, self.dirty = time.time(), True

    def entry(self) -> Entry:
        """Its line in the list."""
        return Entry(
            session=self.id,
            name=self.name,
            kept=self.kept,
            chunks=self.session.num_chunks,
            prompt=self.session.prompt,
            seed=self.session.settings.seed,
            changed=self.changed,
        )

    def notes(self) -> dict[str, Any]:
        """What the session file carries beside the session."""
        return {"name": self.name, "move_speed": self.move_speed, "turn_speed": self.turn_speed}

    def take_notes(self, notes: dict[str, Any]) -> None:
        """Take over what ``notes`` wrote; values from other programs that make no sense are ignored."""
        name, move, turn = (notes.get(key) for key in ("name", "move_speed", "turn_speed"))
        if isinstance(name, str):
            self.name = name[:_MAX_NAME]
        if isinstance(move, float) and 0 <= move <= MAX_MOVE_SPEED:
            self.move_speed = move
        if isinstance(turn, float) and 0 <= turn <= MAX_TURN_SPEED:
            self.turn_speed = turn
