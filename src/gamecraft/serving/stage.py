"""Makes the chunks of a game and shows them to one connection, one chunk ahead at most."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gamecraft.actions import Action
from gamecraft.rollout import Chunk as PlayedChunk
from gamecraft.serving.encoding import ChunkEncoder, encode_picture
from gamecraft.serving.frames import Frame, FrameFlag, PictureFormat
from gamecraft.serving.games import Game
from gamecraft.serving.input_track import InputTrack, Sample
from gamecraft.serving.messages import Chunk, Done, Error, FrameAction, Progress, State
from gamecraft.serving.metrics import LatencyWatch
from gamecraft.serving.outbox import Outbox
from gamecraft.serving.pace import Pace
from gamecraft.serving.server import GameServer

__all__ = ["Paused", "Stage"]

Paused = Literal["player", "idle", "full", "replay"]
_Due = tuple[float, Frame, asyncio.Future[bytes]]  # when, the frame but its picture, and that

_PATIENCE = 2.0  # seconds of play for a client that does not take its frames
_SAVING_SHARE = 0.05  # of the time may go into saving the session
_PROGRESS_INTERVAL = 0.05  # seconds

_log = logging.getLogger(__name__)


class _HaltError(Exception):
    """Stops the model in the middle of a chunk."""


class Stage:
    """The play of one connection.

    Attributes:
        game: what is played, or None.
        generation: see ``messages``; grows whenever what is shown jumps.
        paused: why no chunks are made, None while they are.
        track: the player's input.
    """

    def __init__(self, server: GameServer, outbox: Outbox, form: PictureFormat, quality: int) -> None:
        self.game: Game | None = None
        self.generation = 0
        self.paused: Paused | None = "player"
        config = server.pipe.config
        self.track = InputTrack(config.fps, time.monotonic())
        self.latency = LatencyWatch(server.metrics)
        self._server, self._outbox, self._form, self._quality = server, outbox, form, quality
        self._frames: int = config.chunk_frames
        self._fps: int = config.fps
        self._pace = Pace(config.fps, self._frames)
        self._task: asyncio.Task[None] | None = None
        self._halted = asyncio.Event()
        self._step_id: int | None = None
        self._due: asyncio.Queue[_Due] = asyncio.Queue()
        self._shower = asyncio.create_task(self._show_when_due(self._due))
        self._saved, self._save_cost = time.monotonic(), 0.0
        self._stalled: float | None = None
        self._progressed = 0.0
        self._made = self._remembering = 0.0  # when the last chunk was there; what the session took after that

    # --- what is shown -----------------------------------------------------------------------------------------------

    def send_state(self) -> None:
        """Tell all about the session."""
        if (game := self.game) is None:
            return
        session = game.session
        state = State(
            generation=self.generation,
            session=game.id,
            chunks=session.num_chunks,
            playing=self.paused is None,
            paused=self.paused,
            prompt=session.prompt,
            negative_prompt=session.negative_prompt,
            seed=session.settings.seed,
            steps=session.settings.num_inference_steps,
            guidance=session.settings.guidance_scale,
            smoothing=session.settings.smoothing,
            move_speed=game.move_speed,
            turn_speed=game.turn_speed,
            name=game.name,
        )
        self._outbox.put(state)

    def jump(self, chunks: int, picture: NDArray[np.uint8], flags: FrameFlag = FrameFlag.STILL) -> None:
        """Begin a new generation, which shows this picture [H, W, 3] after so many chunks."""
        self._stop_showing()
        self._due = asyncio.Queue()
        self._shower = asyncio.create_task(self._show_when_due(self._due))
        self._outbox.drop_frames()
        self._pace.jump()
        self.generation += 1
        self.send_state()
        form = PictureFormat.JPEG if self._form is PictureFormat.H264 else self._form
        frame = self._frame(form, chunks, chunks * self._frames, 0, time.monotonic(), flags, picture)
        self._outbox.put_frame(replace(frame, picture=encode_picture(picture, form, self._quality)))

    # --- making ------------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Make chunks until halted, idle or full."""
        self._run(self._play(single=False))

    def step(self, id: int | None) -> None:
        """Make one chunk and pause; then say that the request ``id`` is done."""
        self._step_id = id
        self._run(self._play(single=True))

    def replay(self, first_chunk: int) -> None:
        """Show the chunks from there on once more."""
        self._run(self._replay(first_chunk))

    async def halt(self) -> None:
        """Stop making; a chunk that is being made is given up. Returns when nobody uses the session any more."""
        self._halted.set()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task = None
        if self._step_id is not None:
            text = "the step was interrupted"
            self._outbox.put(Error(generation=self.generation, id=self._step_id, code="request", message=text))
            self._step_id = None

    async def close(self) -> None:
        """Halt for good."""
        await self.halt()
        self._stop_showing()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._halted.clear()
        self._task = asyncio.create_task(self._guard(work))

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except _HaltError:
            pass
        except Exception:
            _log.exception("a chunk could not be made")
            self._server.metrics.errors.labels("internal").inc()
            text = "the chunk could not be made; the server's log says why"
            self._outbox.put(Error(generation=self.generation, id=self._step_id, code="internal", message=text))
            self._step_id = None
            self._pause("player")

    async def _play(self, *, single: bool) -> None:
        self.track.active = time.monotonic()
        while (game := self.game) is not None and not self._halted.is_set():
            if game.session.num_chunks >= self._server.max_chunks:
                self._pause("full")
                return
            if not single and time.monotonic() - self.track.active > self._server.config.idle_seconds:
                self._pause("idle")
                return
            await self._make(game, single=single)
            if single:
                self._pause("player")
                return
            await self._sleep_until(self._pace.begin)
            await self._wait_for_client()

    async def _make(self, game: Game, *, single: bool) -> None:
        asked = time.monotonic()
        chunk = await self._server.worker.run(game.id, partial(self._step, game, asked, single))
        self._remembering = time.monotonic() - self._made
        game.picture = chunk.frames[-1]
        game.touch()
        self._autosave(game)

    def _step(self, game: Game, asked: float, single: bool) -> PlayedChunk:
        """In the model's thread, so that input that comes while others use the model still counts."""
        if self._halted.is_set():
            raise _HaltError
        sample = self.track.take(self._frames, time.monotonic())

        def on_chunk(chunk: PlayedChunk) -> None:
            self._server.call_soon(partial(self._show, sample, chunk, asked, single))

        steps = game.session.settings.num_inference_steps
        return game.session.step(sample.actions, on_step=partial(self._on_step, steps), on_chunk=on_chunk)

    def _show(self, sample: Sample, chunk: PlayedChunk, asked: float, single: bool) -> None:
        """In the server's thread, while the session still remembers what it will need of the chunk."""
        self._made = time.monotonic()
        self._server.metrics.chunk_seconds.observe(chunk.seconds)
        seen = [FrameAction(input=sample.seq, keys=sorted(a.keys), look=a.look) for a in chunk.actions]
        self._present(chunk.index, seen, chunk.frames, self._made - asked, chunk.seconds, alone=single)
        if sample.arrived is not None:
            self.latency.expect(self.generation, chunk.index * self._frames, sample.arrived)

    def _on_step(self, steps: int, step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        if self._halted.is_set():
            raise _HaltError
        now = time.monotonic()
        if step + 1 == steps or now - self._progressed >= _PROGRESS_INTERVAL:
            self._progressed = now
            message = Progress(generation=self.generation, what="chunk", done=step + 1, total=steps)
            self._server.call_soon(partial(self._outbox.put, message))
        return latents

    async def _replay(self, first_chunk: int) -> None:
        game = self.game
        assert game is not None
        actions: Sequence[Action] = game.session.actions
        for index in range(first_chunk, game.session.num_chunks):
            if self._halted.is_set():
                return
            asked = time.monotonic()
            frames = await self._server.worker.run(game.id, partial(game.session.frames, index))
            own = actions[index * self._frames : (index + 1) * self._frames]
            seen = [FrameAction(input=0, keys=sorted(action.keys), look=action.look) for action in own]
            made = time.monotonic() - asked
            self._present(index, seen, frames, made, made, replay=True)
            await self._sleep_until(self._pace.begin)
            await self._wait_for_client()
        await self._sleep_until(self._pace.end)
        if not self._halted.is_set():
            self._pause("player")

    def _pause(self, reason: Paused) -> None:
        self.paused = reason
        self.send_state()
        if self._step_id is not None:
            self._outbox.put(Done(generation=self.generation, id=self._step_id))
            self._step_id = None

    # --- showing -----------------------------------------------------------------------------------------------------

    def _encode(self, frames: NDArray[np.uint8]) -> list[asyncio.Future[bytes]]:
        """Encode the frames of a chunk one after the other, so that the first can be shown before the last is done."""
        encode = ChunkEncoder(self._form, self._quality, self._fps).encode
        loop = asyncio.get_running_loop()
        return [loop.run_in_executor(self._server.encoder, encode, frame) for frame in frames]

    def _present(
        self,
        index: int,
        seen: list[FrameAction],
        frames: NDArray[np.uint8],
        made: float,
        seconds: float,
        *,
        alone: bool = False,
        replay: bool = False,
    ) -> None:
        """Tell about a chunk and have its frames shown when they are due."""
        first = index * self._frames
        message = Chunk(
            generation=self.generation, chunk=index, first_frame=first, frames=seen, seconds=seconds, replay=replay
        )
        self._outbox.put(message)
        start, interval = self._pace.made(made, time.monotonic(), after=self._remembering, alone=alone)
        for i, picture in enumerate(self._encode(frames)):
            flags = FrameFlag.REPLAY if replay else FrameFlag(0)
            if i == 0 and self._form is PictureFormat.H264:
                flags |= FrameFlag.KEY
            if i == len(frames) - 1:
                flags |= FrameFlag.LAST
            due = start + i * interval
            frame = self._frame(self._form, index, first + i, seen[i].input, due, flags, frames[i])
            self._due.put_nowait((due, frame, picture))

    def _frame(
        self,
        form: PictureFormat,
        chunk: int,
        frame: int,
        seq: int,
        due: float,
        flags: FrameFlag,
        shown: NDArray[np.uint8],
    ) -> Frame:
        """A frame whose picture is still to be encoded."""
        return Frame(
            format=form,
            flags=flags,
            generation=self.generation,
            chunk=chunk,
            frame=frame,
            input=seq,
            time=int(due * 1000),
            width=shown.shape[1],
            height=shown.shape[0],
            picture=b"",
        )

    async def _show_when_due(self, due: asyncio.Queue[_Due]) -> None:
        while True:
            when, frame, picture = await due.get()
            await asyncio.sleep(max(0.0, when - time.monotonic()))
            try:
                self._outbox.put_frame(replace(frame, picture=await picture))
            except Exception:  # one picture less; the play goes on
                _log.exception("a picture could not be encoded")
                self._server.metrics.errors.labels("internal").inc()

    def _stop_showing(self) -> None:
        self._shower.cancel()

    async def _sleep_until(self, when: float) -> None:
        delay = when - time.monotonic()
        if delay > 0 and not self._halted.is_set():
            try:
                await asyncio.wait_for(self._halted.wait(), delay)
            except TimeoutError:
                return

    async def _wait_for_client(self) -> None:
        """Play on for a moment when the client does not take its frames (the oldest are dropped), then wait for it."""
        now = time.monotonic()
        if self._outbox.waiting_frames <= self._frames:
            self._stalled = None
            return
        self._stalled = self._stalled or now
        while now - self._stalled > _PATIENCE and self._outbox.waiting_frames > self._frames:
            if self._halted.is_set():
                return
            await self._sleep_until(now + 0.1)
            now = time.monotonic()

    def _autosave(self, game: Game) -> None:
        """Write the session now and then, not so often that it would cost much of the time."""
        now = time.monotonic()
        if now - self._saved >= max(self._server.config.save_seconds, self._save_cost / _SAVING_SHARE):
            self._saved = now
            self._server.spawn(self._save(game))

    async def _save(self, game: Game) -> None:
        started = time.monotonic()
        await self._server.store.save(game)
        self._save_cost = time.monotonic() - started
