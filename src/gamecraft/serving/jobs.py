"""Videos made in the background: of a script, or of a session that was played."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from gamecraft.actions import MAX_MOVE_SPEED, MAX_TURN_SPEED, Action
from gamecraft.denoising import StepCallback
from gamecraft.errors import GameCraftError, InputError
from gamecraft.inputs import scripted_actions
from gamecraft.rollout import Chunk, in_chunks, whole_chunk
from gamecraft.serving.games import Game
from gamecraft.serving.messages import NewSession
from gamecraft.serving.server import GameServer
from gamecraft.serving.store import UnknownIdError
from gamecraft.session import Session
from gamecraft.video import VideoWriter

__all__ = ["GenerateJob", "Job", "Jobs", "PlayJob", "Request", "SessionVideoJob"]

_T = TypeVar("_T")
Status = Literal["waiting", "running", "done", "failed", "cancelled"]
_log = logging.getLogger(__name__)


class _Script(BaseModel):
    """What to do, such as ``"w 2s, left 10f"``; where it gives no speeds, these, in metres and radians per frame."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    actions: Annotated[str, Field(max_length=10_000)]
    move_speed: Annotated[float, Field(ge=0, le=MAX_MOVE_SPEED)] | None = None
    turn_speed: Annotated[float, Field(ge=0, le=MAX_TURN_SPEED)] | None = None

    def parsed(self, fps: int) -> list[Action]:
        """One action per frame. Raises ActionError."""
        turn = None if self.turn_speed is None else math.degrees(self.turn_speed)
        return scripted_actions(self.actions, fps, speed=self.move_speed, turn=turn)


class GenerateJob(NewSession, _Script):
    """The video of a script played from a picture; no session is kept."""


class PlayJob(_Script):
    """Play a script on in a session, chunk by chunk; the video is of all that has then been played in it."""

    session: str


class SessionVideoJob(BaseModel):
    """The video of all that was played in a session."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    session: str


Request = GenerateJob | PlayJob | SessionVideoJob


@dataclass(kw_only=True, eq=False)
class Job:
    """A video that is being made, or has been; ``done`` of ``total`` frames."""

    request: Request
    total: int
    id: str
    status: Status = "waiting"
    done: int = 0
    error: str = ""
    created: float = field(default_factory=time.time)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ("done", "failed", "cancelled")


class _CancelledError(Exception):
    """The job is not wanted any more."""


class Jobs:
    """Makes one video at a time; the model is shared with the players chunk by chunk. A restart forgets all jobs."""

    def __init__(self, server: GameServer, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server, self._folder, self._shard = server, folder, server.config.shard
        for left in (*folder.glob("*.mp4"), *folder.glob(".*.tmp")):
            if self._shard.count == 1 or self._shard.owns(left.name.lstrip(".").split(".")[0]):
                left.unlink(missing_ok=True)
        self._jobs: dict[str, Job] = {}
        self._arrived = asyncio.Event()
        server.metrics.watch("jobs", "Videos being made or waiting", lambda: sum(not j.finished for j in self.all()))

    def start(self) -> None:
        """Begin to work."""
        self._server.spawn(self._work())

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        return sorted(self._jobs.values(), key=lambda job: job.created, reverse=True)

    def get(self, id: str) -> Job:
        """One job. Raises UnknownIdError."""
        if id not in self._jobs:
            raise UnknownIdError("there is no such job")
        return self._jobs[id]

    def video(self, job: Job) -> Path:
        """The file of a job that is done."""
        return self._folder / f"{job.id}.mp4"

    def submit(self, request: Request) -> Job:
        """Add a job.

        Raises:
            InputError: the script is not valid, the video would be empty or too long, or there are too many jobs.
        """
        config, longest = self._server.pipe.config, self._server.max_chunks
        total = 0
        if isinstance(request, PlayJob | SessionVideoJob):
            total = self._server.store.entry(request.session).chunks * config.chunk_frames
        if isinstance(request, PlayJob | GenerateJob):
            total += len(request.parsed(config.fps))
        if isinstance(request, PlayJob):
            total += -total % config.chunk_frames  # sessions have whole chunks
        if not 1 <= total <= longest * config.chunk_frames:
            raise InputError(f"the video would have {total} frames, expected 1 to {longest * config.chunk_frames}")
        self._make_place()
        job = Job(request=request, total=total, id=self._shard.new_id())
        self._jobs[job.id] = job
        self._arrived.set()
        return job

    def remove(self, id: str) -> None:
        """Cancel a job that is not finished, otherwise forget it and its video. Raises UnknownIdError."""
        job = self.get(id)
        if job.finished:
            self.video(job).unlink(missing_ok=True)
            del self._jobs[id]
        else:
            job.status = "cancelled"  # seen before the next step of the model

    def _make_place(self) -> None:
        finished = [job for job in self.all() if job.finished]
        if len(self._jobs) >= self._server.config.max_jobs:
            if not finished:
                raise InputError(f"{len(self._jobs)} videos are waiting already; try again later")
            self.remove(finished[-1].id)

    async def _work(self) -> None:
        while True:
            waiting = [job for job in reversed(self.all()) if job.status == "waiting"]
            if not waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._run(waiting[0])

    async def _run(self, job: Job) -> None:
        job.status = "running"
        writer = VideoWriter(self.video(job), self._server.pipe.config.fps)
        try:
            if isinstance(job.request, GenerateJob):
                await self._generate(job, job.request, writer)
            elif isinstance(job.request, PlayJob):
                await self._play(job, job.request, writer)
            else:
                game = await self._server.store.open(job.request.session, self._server.pipe)
                await self._show(job, game, writer)
            await self._encode(writer.close)
            job.status = "done"
        except _CancelledError:
            pass
        except GameCraftError as error:
            job.status, job.error = "failed", str(error)
        except Exception:
            _log.exception("a job failed")
            job.status, job.error = "failed", "the server's log says why"
        finally:
            if job.status != "done":
                writer.abort()

    async def _generate(self, job: Job, request: GenerateJob, writer: VideoWriter) -> None:
        session, _ = await self._server.new_session(request)
        for actions, shown in self._chunks(request):
            chunk = await self._turn(job, partial(session.step, actions, on_step=_giving_up(job)))
            await self._add(job, writer, chunk.frames[:shown])

    async def _play(self, job: Job, request: PlayJob, writer: VideoWriter) -> None:
        server = self._server
        game = await server.store.open(request.session, server.pipe)
        if game.player is not None:
            raise InputError("the session is being played; leave it first")
        game.player = job
        try:
            await self._show(job, game, writer)
            for actions, _ in self._chunks(request):
                chunk = await self._turn(job, partial(_step_if_ours, job, game, actions))
                game.picture = chunk.frames[-1]
                game.touch()
                await self._add(job, writer, chunk.frames)
        finally:
            if game.player is job:
                game.player, game.released = None, time.monotonic()
            await server.store.save(game)

    async def _show(self, job: Job, game: Game, writer: VideoWriter) -> None:
        played: Session = await self._turn(job, game.session.fork)  # so that the player can go on meanwhile
        if isinstance(job.request, SessionVideoJob):
            job.total = played.num_chunks * self._server.pipe.config.chunk_frames
        for index in range(played.num_chunks):
            await self._add(job, writer, await self._turn(job, partial(played.frames, index)))

    def _chunks(self, request: GenerateJob | PlayJob) -> Iterator[tuple[list[Action], int]]:
        """The actions of each chunk, filled up with rest, and how many of them were asked for."""
        config = self._server.pipe.config
        for shown in in_chunks(request.parsed(config.fps), config.chunk_frames):
            yield whole_chunk(shown, config.chunk_frames), len(shown)

    async def _turn(self, job: Job, work: Callable[[], _T]) -> _T:
        _check(job)
        return await self._server.worker.run(job.id, work)

    async def _add(self, job: Job, writer: VideoWriter, frames: NDArray[np.uint8]) -> None:
        await self._encode(partial(writer.add, frames))
        job.done += len(frames)

    async def _encode(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._server.encoder, work)


def _check(job: Job) -> None:
    if job.status == "cancelled":
        raise _CancelledError


def _giving_up(job: Job) -> StepCallback:
    """Ends the chunk that is being made when the job is cancelled."""

    def on_step(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        _check(job)
        return latents

    return on_step


def _step_if_ours(job: Job, game: Game, actions: list[Action]) -> Chunk:
    """In the model's thread, where nobody else changes the session."""
    if game.player is not job:
        raise InputError("the session is played in the page now")
    return game.session.step(actions, on_step=_giving_up(job))
