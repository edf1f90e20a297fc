"""From the values of the studio's form to a session, a job, and a run of the history."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from gamecraft.controls import MAX_TURN_SPEED
from gamecraft.errors import InputError
from gamecraft.serving.encoding import encode_picture
from gamecraft.serving.frames import PictureFormat
from gamecraft.serving.games import Game
from gamecraft.serving.jobs import Job, Jobs, PlayJob
from gamecraft.serving.messages import Image, NewSession, SessionSettings
from gamecraft.serving.server import GameServer
from gamecraft.serving.studio.runs import Run, RunStore
from gamecraft.session import Session
from gamecraft.video import read_video

__all__ = ["GALLERY", "PICTURE", "RUN", "STARTS", "VIDEO", "Form", "Maker"]

GALLERY, PICTURE, VIDEO, RUN = "A picture of the gallery", "My picture", "The end of a video", "The end of a run"
STARTS = (GALLERY, PICTURE, VIDEO, RUN)
_LOOK_SECONDS = 0.2

_M = TypeVar("_M", bound=BaseModel)

OnProgress = Callable[[int, int], None]
"""Called with the frames that are done, and all of them."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the form holds; only the field that ``start`` names counts of gallery, picture, video and run.

    Attributes:
        picture, video: files. run: the session of a run.
        move_speed, turn_speed: metres and degrees per frame.
    """

    start: str
    gallery: str | None
    picture: str | None
    video: str | None
    run: str | None
    prompt: str
    negative_prompt: str
    script: str
    seed: int
    steps: int
    guidance: float
    smoothing: float
    move_speed: float
    turn_speed: float


class Maker:
    """Makes runs with the server's model, in turn with its players."""

    def __init__(self, server: GameServer, jobs: Jobs, runs: RunStore) -> None:
        self._server, self._jobs, self._runs = server, jobs, runs

    async def make(self, form: Form, on_progress: OnProgress) -> Run:
        """Make one run; a caller that is cancelled ends it, and what was played by then stays as a session.

        Raises:
            InputError: a value of the form is not valid, or the video cannot be made.
        """
        began = time.monotonic()
        script = _checked(
            PlayJob,
            session="",
            actions=form.script,
            move_speed=form.move_speed,
            turn_speed=min(math.radians(form.turn_speed), MAX_TURN_SPEED),
        )
        script.parsed(self._server.pipe.config.fps)  # refused before a session is begun
        game, follows = await self._begin(form)
        job = self._jobs.submit(script.model_copy(update={"session": game.id}))
        try:
            await self._wait(job, on_progress)
            run = self._describe(form, game, follows, job, time.monotonic() - began)
            picture = encode_picture(game.picture, PictureFormat.JPEG, 85)
            await asyncio.to_thread(self._runs.add, run, self._jobs.video(job), picture)
        finally:
            self._jobs.remove(job.id)  # cancels it if it still runs
        return run

    async def _wait(self, job: Job, on_progress: OnProgress) -> None:
        while not job.finished:
            on_progress(job.done, job.total)
            await asyncio.sleep(_LOOK_SECONDS)
        if job.status != "done":
            raise InputError(job.error or f"the job is {job.status}")

    async def _begin(self, form: Form) -> tuple[Game, Run | None]:
        """A new session that stands where the form says, and the run it goes on from."""
        follows = self._runs.get(form.run or "") if form.start == RUN else None
        session, picture = await (self._go_on(follows, form) if follows else self._start(form))
        game = Game(session=session, picture=picture, name="studio")
        await self._server.store.add(game)
        return game, follows

    async def _start(self, form: Form) -> tuple[Session, NDArray[np.uint8]]:
        names = ("prompt", "negative_prompt", "seed", "steps", "guidance", "smoothing")
        settings = {name: getattr(form, name) for name in names}
        if form.start == VIDEO:
            return await self._server.begin(_checked(SessionSettings, **settings), video=await self._frames(form))
        return await self._server.new_session(_checked(NewSession, image=await self._image(form), **settings))

    async def _image(self, form: Form) -> Image:
        if form.start == GALLERY:
            return _checked(Image, gallery=form.gallery)
        config = self._server.pipe.config
        content = await asyncio.to_thread(_file(form.picture, "picture").read_bytes)
        add = partial(self._server.uploads.add, content, height=config.height, width=config.width)
        return Image(upload=await asyncio.to_thread(add))

    async def _frames(self, form: Form) -> NDArray[np.uint8]:
        chunk, pixels = self._server.pipe.config.chunk_frames, self._server.config.upload_pixels
        read = partial(read_video, _file(form.video, "video"), last=chunk, max_pixels=pixels)
        return (await asyncio.to_thread(read))[0]

    async def _go_on(self, run: Run, form: Form) -> tuple[Session, NDArray[np.uint8]]:
        """A copy of a run's session, with the form's prompt and seed from here on."""
        server = self._server
        before = await server.store.open(run.session, server.pipe)
        twin: Session = await server.worker.run(before.id, before.session.fork)
        await server.worker.run(before.id, partial(twin.change, prompt=form.prompt, seed=form.seed))
        return twin, before.picture

    def _describe(self, form: Form, game: Game, follows: Run | None, job: Job, seconds: float) -> Run:
        settings = game.session.settings
        starts = {GALLERY: form.gallery, PICTURE: "my picture", VIDEO: "a video", RUN: follows and follows.start}
        return Run(
            session=game.id,
            created=time.time(),
            seconds=round(seconds, 2),
            frames=job.total,
            start=starts[form.start] or "",
            follows=follows.session if follows else None,
            script=f"{follows.script}, {form.script}" if follows else form.script,
            prompt=game.session.prompt,
            negative_prompt=game.session.negative_prompt,
            seed=settings.seed,
            steps=settings.num_inference_steps,
            guidance=settings.guidance_scale,
            smoothing=settings.smoothing,
            move_speed=form.move_speed,
            turn_speed=form.turn_speed,
        )


def _checked(kind: type[_M], **values: Any) -> _M:
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{' '.join(map(str, first['loc']))}: {first['msg']}") from None


def _file(path: str | None, what: str) -> Path:
    if not path:
        raise InputError(f"there is no {what} yet; choose one, or start from something else")
    return Path(path)
