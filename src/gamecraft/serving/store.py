"""All sessions of a server: those in memory, and those parked on disk.

Each session has three files named by its id: the session, its entry in the list, and a small picture. Every file is
written whole or not at all, the entry last, so a killed server finds all sessions as they were last written. Replicas
share the folder; each touches the sessions of its shard only, and lists the others as they were last written.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.encoding import encode_picture
from gamecraft.serving.frames import PictureFormat
from gamecraft.serving.games import Entry, Game, read_entry
from gamecraft.serving.ids import is_id
from gamecraft.serving.shards import Shard
from gamecraft.serving.worker import ModelWorker
from gamecraft.session import Session
from gamecraft.session_file import read_session

__all__ = ["ElsewhereError", "OnRestoring", "SessionStore", "UnknownIdError", "current_picture"]

OnRestoring = Callable[[int, int], None]
"""Called with the chunks that have been made again, and all of them."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class UnknownIdError(InputError):
    """There is no session, upload or job of that id."""


class ElsewhereError(InputError):
    """Another replica keeps that session."""


class SessionStore:
    """Creates, finds, saves, parks and deletes sessions. Used from one event loop."""

    def __init__(
        self, folder: Path, worker: ModelWorker, disk: ThreadPoolExecutor, max_sessions: int, *, shard: Shard
    ) -> None:
        self._folder, self._worker, self._disk, self._max_sessions = folder, worker, disk, max_sessions
        self._shard = shard
        self._games: dict[str, Game] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder, shard)
        self._entries = _read_entries(folder, shard.owns)

    # --- looking -----------------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All sessions kept here, the newest first."""
        return _newest_first(self._entries | {game.id: game.entry() for game in self._games.values()})

    async def all_entries(self) -> list[Entry]:
        """All sessions, also those of other replicas, the newest first."""
        own = {entry.session: entry for entry in self.entries()}
        if self._shard.count == 1:
            return list(own.values())
        foreign = partial(_read_entries, self._folder, lambda id: not self._shard.owns(id))
        return _newest_first(own | await self._on_disk(foreign))

    def entry(self, id: str) -> Entry:
        """One session's entry. Raises UnknownIdError, or ElsewhereError."""
        if game := self._games.get(id):
            return game.entry()
        if is_id(id) and not self._shard.owns(id):
            raise ElsewhereError("another replica keeps that session; add ?session=ID to the address")
        if id not in self._entries:
            raise UnknownIdError("there is no such session")
        return self._entries[id]

    def loaded(self) -> list[Game]:
        """The sessions in memory."""
        return list(self._games.values())

    def thumbnail(self, id: str) -> Path:
        """The file with the small picture of a session. Raises UnknownIdError."""
        return self._path(self.entry(id).session, ".jpg")

    # --- changing ----------------------------------------------------------------------------------------------------

    async def add(self, game: Game) -> None:
        """Take over a new session, with an id of this replica, and write it to disk; removes the oldest that nobody
        wants to keep if there are too many.

        Raises:
            InputError: there is no place for another.
        """
        await self._make_place()
        if not self._shard.owns(game.id):
            game.id = self._shard.new_id()
        self._games[game.id] = game
        await self.save(game)

    async def add_file(self, path: Path, pipe: GameCraftPipeline) -> Entry:
        """Take over a session file; what is not stored in it is made again when it is first opened.

        Raises:
            InputError: it is no session, of another size than the model's, or there is no place for another.
        """
        await self._make_place()
        entry = await self._on_disk(partial(self._take_file, path, pipe))
        self._entries[entry.session] = entry
        return entry

    async def open(self, id: str, pipe: GameCraftPipeline, on_restoring: OnRestoring | None = None) -> Game:
        """A session, from memory or disk.

        Raises:
            UnknownIdError: there is none.
            InputError: its file is damaged or of another model.
        """
        self.entry(id)
        async with self._locks.setdefault(id, asyncio.Lock()):
            if game := self._games.get(id):
                return game
            entry = self.entry(id)
            session, notes = await self._load(id, pipe, on_restoring)
            picture = await self._worker.run(id, partial(current_picture, session))
            game = Game(session=session, picture=picture, id=id, kept=entry.kept, changed=entry.changed, dirty=False)
            game.take_notes(notes)
            self._games[id] = game
            return game

    async def save(self, game: Game) -> None:
        """Write a session to disk as it is between two of its turns.

        Raises:
            OSError: that failed; what was on disk is as it was.
        """
        snapshot = await self._worker.run(game.id, game.session.fork)
        game.dirty = False
        entry, notes, picture = game.entry(), game.notes(), game.picture
        try:
            await self._on_disk(partial(self._write, snapshot, entry, notes, picture))
        except BaseException:
            game.dirty = True
            raise
        if game.id in self._games:  # not deleted meanwhile
            self._entries[game.id] = entry
        else:
            await self._on_disk(partial(self._remove, game.id))

    async def park(self, seconds: float) -> None:
        """Take out of memory what nobody has been connected to for that long."""
        for game in self.loaded():
            async with self._locks.setdefault(game.id, asyncio.Lock()):
                if game.player is None and time.monotonic() - game.released >= seconds and game.id in self._games:
                    if game.dirty:
                        await self.save(game)
                    if game.player is None and not game.dirty:
                        self._games.pop(game.id, None)

    async def delete(self, id: str) -> Game | None:
        """Remove a session; returns it if it was in memory. Raises UnknownIdError."""
        self.entry(id)
        async with self._locks.setdefault(id, asyncio.Lock()):
            game = self._games.pop(id, None)
            self._entries.pop(id, None)
            await self._on_disk(partial(self._remove, id))
        self._locks.pop(id, None)
        return game

    # --- files -------------------------------------------------------------------------------------------------------

    async def _make_place(self) -> None:
        while len(self._entries) >= self._max_sessions:
            played = {game.id for game in self._games.values() if game.player is not None}
            removable = [entry for entry in self.entries() if not entry.kept and entry.session not in played]
            if not removable:
                raise InputError(f"there are {self._max_sessions} sessions already; delete one first")
            await self.delete(removable[-1].session)

    async def _load(
        self, id: str, pipe: GameCraftPipeline, on_restoring: OnRestoring | None
    ) -> tuple[Session, dict[str, object]]:
        loading = Session.load_by_chunk(self._path(id, ".safetensors"), pipe)

        def proceed() -> tuple[tuple[int, int] | None, tuple[Session, dict[str, object]] | None]:
            try:
                return next(loading), None
            except StopIteration as end:  # a future cannot carry it
                return None, end.value

        while True:
            progress, loaded = await self._worker.run(id, proceed)
            if loaded is not None:
                return loaded
            if progress is not None and on_restoring is not None:
                on_restoring(*progress)

    def _write(self, session: Session, entry: Entry, notes: dict[str, object], picture: NDArray[np.uint8]) -> None:
        session.save(self._path(entry.session, ".safetensors"), notes=notes)
        self._write_entry(entry, picture)

    def _write_entry(self, entry: Entry, picture: NDArray[np.uint8]) -> None:
        with write_atomically(self._path(entry.session, ".jpg")) as temporary:
            temporary.write_bytes(encode_picture(picture, PictureFormat.JPEG, 80))
        with write_atomically(self._path(entry.session, ".json")) as temporary:
            temporary.write_text(entry.to_json(), encoding="utf-8")

    def _take_file(self, path: Path, pipe: GameCraftPipeline) -> Entry:
        data, chunks, _, notes = read_session(path)
        size, expected = data.start.shape[1:3], (pipe.config.height, pipe.config.width)
        if size != expected:
            raise InputError(f"the session is {size[1]}x{size[0]} pixels, expected {expected[1]}x{expected[0]}")
        last = data.changes[-1] if data.changes else None
        entry = Entry(
            session=self._shard.new_id(),
            name=notes["name"][:80] if isinstance(notes.get("name"), str) else "",
            kept=True,
            chunks=len(chunks),
            prompt=last.prompt if last else data.prompt,
            seed=last.seed if last else data.settings.seed,
            changed=time.time(),
        )
        os.replace(path, self._path(entry.session, ".safetensors"))
        self._write_entry(entry, data.start[-1])
        return entry

    def _remove(self, id: str) -> None:
        for suffix in (".json", ".safetensors", ".jpg"):
            self._path(id, suffix).unlink(missing_ok=True)

    def _path(self, id: str, suffix: str) -> Path:
        assert is_id(id), "an id from outside must be looked up first"
        return self._folder / f"{id}{suffix}"

    async def _on_disk(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


def current_picture(session: Session) -> NDArray[np.uint8]:
    """What a session shows where it stands, uint8 [H, W, 3]."""
    frames = session.frames(session.num_chunks - 1) if session.num_chunks else session.start
    picture: NDArray[np.uint8] = frames[-1]
    return picture


def _newest_first(entries: dict[str, Entry]) -> list[Entry]:
    return sorted(entries.values(), key=lambda entry: entry.changed, reverse=True)


def _read_entries(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for path in folder.glob("*.json"):
        if not is_id(path.stem) or not wanted(path.stem):
            continue
        try:
            entry = read_entry(path)
        except InputError as error:
            _log.warning("a session is left out: %s", error)
            continue
        if path.with_suffix(".safetensors").is_file():
            entries[entry.session] = entry
    return entries


def _remove_unfinished(folder: Path, shard: Shard) -> None:
    """Files of a server that was killed while writing; other replicas may be writing theirs now."""
    for left in folder.glob(".*.tmp"):
        id = left.name[1:].split(".")[0]
        if shard.count == 1 or (is_id(id) and shard.owns(id)):
            left.unlink(missing_ok=True)
