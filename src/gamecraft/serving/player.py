"""Carries out what one connection's player asks for, one request after the other."""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gamecraft.errors import InputError
from gamecraft.serving.encoding import choose_format
from gamecraft.serving.frames import FrameFlag
from gamecraft.serving.games import Game
from gamecraft.serving.messages import (
    CLOSE_CODES,
    Done,
    Error,
    Fork,
    Hello,
    Input,
    Pause,
    Play,
    Progress,
    Prompt,
    Replay,
    Reset,
    Resume,
    Rewind,
    Save,
    Saved,
    Seed,
    Seen,
    Speed,
    Start,
    Step,
)
from gamecraft.serving.outbox import Outbox
from gamecraft.serving.server import GameServer, random_seed
from gamecraft.serving.stage import Stage
from gamecraft.serving.store import current_picture

__all__ = ["Player", "Request"]

_T = TypeVar("_T")

Request = Start | Resume | Speed | Prompt | Seed | Pause | Play | Step | Reset | Rewind | Fork | Save | Replay


class Player:
    """One connection that has a place.

    Attributes:
        stage: makes and shows the chunks.
    """

    def __init__(self, server: GameServer, outbox: Outbox, hello: Hello) -> None:
        self._server, self._outbox = server, outbox
        config = server.pipe.config
        form = choose_format(hello.format, config.height, config.width)
        self.stage = Stage(server, outbox, form, hello.quality)

    # --- at once -----------------------------------------------------------------------------------------------------

    def input(self, message: Input) -> bool:
        """Take an input; returns whether play, which is paused for lack of it or by a replay, is to go on."""
        busy = self.stage.track.add(message, time.monotonic())
        return busy and self.stage.paused in ("idle", "replay")

    def seen(self, message: Seen) -> None:
        """The client shows this frame."""
        self._outbox.seen(message.generation, message.frame)
        self.stage.latency.seen(message.generation, message.frame, time.monotonic())

    # --- one after the other -----------------------------------------------------------------------------------------

    async def do(self, request: Request) -> None:
        """Carry out a request and answer it.

        Raises:
            InputError: it is not possible; nothing has changed.
        """
        self.stage.track.active = time.monotonic()
        match request:
            case Start():
                await self._enter(await self._server.new_game(request), playing=request.playing)
            case Resume():
                await self._resume(request.session)
            case Speed():
                self._set_speed(self._game(), request)
            case Prompt() | Seed():
                await self._change(self._game(), request)
            case Pause() | Play():
                await self._pause(playing=isinstance(request, Play))
            case Step():
                await self._step(request.id)
                return  # answered when the chunk is there
            case Reset():
                await self._reset(request)
            case Rewind(chunks=chunks):
                await self._rewind(chunks)
            case Fork(chunks=chunks):
                await self._fork(chunks)
            case Replay(first_chunk=chunk):
                await self._replay(chunk)
            case Save():
                await self._save(request)
                return
        if request.id is not None:
            self._outbox.put(Done(generation=self.stage.generation, id=request.id))

    async def leave(self) -> None:
        """The connection has ended; the session stays."""
        await self._release()
        await self.stage.close()

    async def lose(self, error: Error) -> None:
        """The game belongs to another connection now, or to nobody."""
        game, self.stage.game = self.stage.game, None
        if game is not None and game.player is self:
            game.player, game.released = None, time.monotonic()
        await self.stage.halt()
        self._outbox.put(error.model_copy(update={"generation": self.stage.generation}))
        if error.fatal:
            self._outbox.close(CLOSE_CODES[error.code])

    # --- sessions ----------------------------------------------------------------------------------------------------

    def _game(self) -> Game:
        if self.stage.game is None:
            raise InputError("no session is played; send start or resume first")
        return self.stage.game

    async def _enter(self, game: Game, *, playing: bool) -> None:
        other, game.player = game.player, self  # at once, so that nobody parks it or takes it up twice
        await self._release(keep=game)
        if isinstance(other, Player) and other is not self:
            text = "the session is played from another connection now"
            await other.lose(Error(code="taken", message=text, fatal=True))
        if game.player is not self:
            raise InputError("the session has been taken by yet another connection")
        stage = self.stage
        stage.game, stage.paused = game, None if playing else "player"
        stage.track.move_speed, stage.track.turn_speed = game.move_speed, game.turn_speed
        stage.jump(game.session.num_chunks, game.picture)
        if playing:
            stage.go()

    async def _release(self, *, keep: Game | None = None) -> None:
        """Leave the present session, if any, so that anybody can take it up; ``keep`` remains ours."""
        stage = self.stage
        game, playing = stage.game, stage.paused is None
        await stage.halt()
        stage.game = None
        if game is not None and game is not keep and game.player is self:
            game.player, game.released, game.was_playing = None, time.monotonic(), playing
            if game.dirty:
                self._server.spawn(self._server.store.save(game))

    async def _resume(self, id: str) -> None:
        def on_restoring(done: int, total: int) -> None:
            message = Progress(generation=self.stage.generation, what="restoring", done=done, total=total)
            self._outbox.put(message)

        game = await self._server.store.open(id, self._server.pipe, on_restoring)
        other = game.player  # ourselves, or a connection whose end has not been noticed yet
        playing = other.stage.paused is None if isinstance(other, Player) else game.was_playing
        await self._enter(game, playing=playing)

    async def _fork(self, chunks: int | None) -> None:
        game = self._game()
        _check_chunks(game, chunks)
        twin = await self._use(game, game.session.fork)
        if chunks is not None:
            twin.rewind(chunks)
        picture = await self._use(game, partial(current_picture, twin))
        copy = Game(session=twin, picture=picture, move_speed=game.move_speed, turn_speed=game.turn_speed)
        await self._server.store.add(copy)
        await self._enter(copy, playing=False)

    async def _save(self, request: Save) -> None:
        game = self._game()
        game.name, game.kept = request.name or game.name, True
        await self._server.store.save(game)
        self.stage.send_state()
        url = f"/api/sessions/{game.id}/file"
        generation = self.stage.generation
        self._outbox.put(Saved(generation=generation, id=request.id, session=game.id, name=game.name, url=url))

    # --- the running session -----------------------------------------------------------------------------------------

    def _set_speed(self, game: Game, request: Speed) -> None:
        if request.move_speed is not None:
            game.move_speed = self.stage.track.move_speed = request.move_speed
        if request.turn_speed is not None:
            game.turn_speed = self.stage.track.turn_speed = request.turn_speed
        game.touch()
        self.stage.send_state()

    async def _change(self, game: Game, request: Prompt | Seed) -> None:
        if isinstance(request, Prompt):
            change = partial(game.session.change, prompt=request.prompt)
        else:
            change = partial(game.session.change, seed=random_seed() if request.seed is None else request.seed)
        await self._use(game, change)
        game.touch()
        self.stage.send_state()

    async def _pause(self, *, playing: bool) -> None:
        game, stage = self._game(), self.stage
        if playing and stage.paused is None:
            return
        await stage.halt()
        replaying, stage.paused = stage.paused == "replay", None if playing else "player"
        if replaying:
            stage.jump(game.session.num_chunks, game.picture)
        else:
            stage.send_state()
        if playing:
            stage.go()

    async def _step(self, id: int | None) -> None:
        game, stage = self._game(), self.stage
        await stage.halt()
        if stage.paused == "replay":
            stage.jump(game.session.num_chunks, game.picture)
        stage.paused = None
        stage.send_state()
        stage.step(id)

    async def _reset(self, request: Reset) -> None:
        game, stage = self._game(), self.stage
        playing = stage.paused is None
        await stage.halt()

        def reset() -> None:
            game.session.rewind(0)
            game.session.change(prompt=request.prompt, seed=request.seed)

        await self._use(game, reset)
        game.picture = game.session.start[-1]
        game.touch()
        stage.paused = None if playing else "player"
        stage.jump(0, game.picture)
        if playing:
            stage.go()

    async def _rewind(self, chunks: int) -> None:
        game, stage = self._game(), self.stage
        _check_chunks(game, chunks)
        await stage.halt()
        await self._use(game, partial(game.session.rewind, chunks))
        game.picture = await self._use(game, partial(current_picture, game.session))
        game.touch()
        stage.paused = "player"
        stage.jump(chunks, game.picture)

    async def _replay(self, first_chunk: int) -> None:
        game, stage = self._game(), self.stage
        if first_chunk >= game.session.num_chunks:
            raise InputError(f"there is no chunk {first_chunk}, {game.session.num_chunks} have been played")
        await stage.halt()
        twin = game.session.fork()
        twin.rewind(first_chunk)
        picture = await self._use(game, partial(current_picture, twin))
        stage.paused = "replay"
        stage.jump(first_chunk, picture, FrameFlag.STILL | FrameFlag.REPLAY)
        stage.replay(first_chunk)

    async def _use(self, game: Game, work: Callable[[], _T]) -> _T:
        """Run something that needs the model or the session, between two chunks."""
        return await self._server.worker.run(game.id, work)


def _check_chunks(game: Game, chunks: int | None) -> None:
    if chunks is not None and chunks > game.session.num_chunks:
        raise InputError(f"there are {game.session.num_chunks} chunks, not {chunks}")
