"""From the values of the studio's form to a session, a job, and a run of the history."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gamecraft.controls import MAX_TURN_SPEED
from gamecraft.errors import InputError
from gamecraft.serving.encoding import encode_picture
from gamecraft.serving.frames import PictureFormat
from gamecraft.serving.games import Game
from gamecraft.serving.jobs import Job, Jobs, PlayJob
from gamecraft.serving.messages import Image, NewSession
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
        server = self._server
        if form.start == RUN:
            return await self._go_on(form)
        if form.start == VIDEO:
            session = await self._from_video(form)
            game = Game(session=session, picture=session.start[-1])
            await server.store.add(game)
        else:
            game = await server.new_game(self._new_session(form, await self._image(form)))
        game.name = "studio"
        return game, None

    async def _image(self, form: Form) -> Image:
        if form.start == GALLERY:
            return _checked(Image, gallery=form.gallery)
        config = self._server.pipe.config
        content = await asyncio.to_thread(_file(form.picture, "picture").read_bytes)
        add = partial(self._server.uploads.add, content, height=config.height, width=config.width)
        return Image(upload=await asyncio.to_thread(add))

    def _new_session(self, form: Form, image: Image) -> NewSession:
        return _checked(
            NewSession,
            image=image,
            prompt=form.prompt,
            negative_prompt=form.negative_prompt,
            seed=form.seed,
            steps=form.steps,
            guidance=form.guidance,
            smoothing=form.smoothing,
        )

    async def _from_video(self, form: Form) -> Session:
        server, config = self._server, self._server.pipe.config
        path = _file(form.video, "video")
        read = partial(read_video, path, last=config.chunk_frames, max_pixels=server.config.upload_pixels)
        frames, _ = await asyncio.to_thread(read)
        session = Session(server.pipe)
        reset = partial(
            session.reset,
            video=frames,
            prompt=form.prompt,
            negative_prompt=form.negative_prompt,
            seed=form.seed,
            num_inference_steps=form.steps,
            guidance_scale=form.guidance,
            smoothing=form.smoothing,
        )
        await server.worker.run("studio", reset)
        return session

    async def _go_on(self, form: Form) -> tuple[Game, Run]:
        """A copy of a run's session, with the form's prompt and seed from here on."""
        server = self._server
        run = self._runs.get(form.run or "")
        before = await server.store.open(run.session, server.pipe)
        twin: Session = await server.worker.run(before.id, before.session.fork)
        await server.worker.run(before.id, partial(twin.change, prompt=form.prompt, seed=form.seed))
        game = Game(session=twin, picture=before.picture, name="studio")
        await server.store.add(game)
        return game, run

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
