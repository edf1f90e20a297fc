"""What all connections of a server share: the model, the sessions, the places and the measurements."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action
from gamecraft.controls import MAX_FRAMES
from gamecraft.errors import GameCraftError, InputError
from gamecraft.gallery import gallery
from gamecraft.pictures import open_picture
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.games import Game
from gamecraft.serving.lobby import Lobby
from gamecraft.serving.lockstep import BEAT_SECONDS
from gamecraft.serving.messages import ModelInfo, NewSession, SessionSettings
from gamecraft.serving.metrics import ServerMetrics
from gamecraft.serving.store import SessionStore, UnknownIdError
from gamecraft.serving.uploads import UploadStore
from gamecraft.serving.worker import ModelWorker
from gamecraft.session import Session

__all__ = ["GameServer", "LoadPipeline", "NotReadyError", "random_seed"]

LoadPipeline = Callable[[], GameCraftPipeline]

_OWNER = "server"  # of turns of the model that no session takes
_CHORES_SECONDS = 2.0

_log = logging.getLogger(__name__)


class NotReadyError(InputError):
    """There is no model yet, or none could be loaded."""


class GameServer:
    """Lives from ``start`` to ``stop`` in one event loop.

    Attributes:
        worker: the model's thread. encoder, disk: threads for pictures and files.
        max_chunks: longest session; known when the model is ready.
        steps_loaded: of ``LOADING_STEPS``: the model is there, and warm.
        failure: why there will be no model, or None.
        ready: set when the model is ready or has failed.
        on_chores: called every few seconds.
    """

    LOADING_STEPS = 2

    def __init__(self, config: ServerConfig, load: LoadPipeline) -> None:
        self.config, self._load = config, load
        self.metrics = ServerMetrics()
        self.worker = ModelWorker()
        self.encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self.disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self.lobby = Lobby(config.max_players, config.max_waiting)
        self.store = SessionStore(
            config.state / "sessions", self.worker, self.disk, config.max_sessions, shard=config.shard
        )
        self.uploads = UploadStore(
            config.state / "uploads", max_pixels=config.upload_pixels, max_uploads=config.max_uploads
        )
        self.max_chunks = 0
        self.steps_loaded = 0
        self.failure: str | None = None
        self.ready = asyncio.Event()
        self.on_chores: set[Callable[[], None]] = set()
        self._pipe: GameCraftPipeline | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._measure()

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load the model and to look after the sessions."""
        self._loop = asyncio.get_running_loop()
        self.spawn(self._load_model())
        self.spawn(self._chores())

    async def stop(self) -> None:
        """Write all sessions to disk and end."""
        while self._tasks:  # connections that end begin others, which save
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for game in self.store.loaded():
            if game.dirty:
                try:
                    await self.store.save(game)
                except OSError:
                    _log.exception("a session could not be saved")
        for thread in (self.encoder, self.disk):
            thread.shutdown(wait=True, cancel_futures=True)
        self.worker.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background; an error is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def keep_alive(self, beat: Callable[[], None]) -> None:
        """Have ``beat`` called about every minute between two uses of the model."""
        last = time.monotonic()

        def chore() -> None:
            nonlocal last
            if time.monotonic() - last >= BEAT_SECONDS and self._pipe is not None:
                last = time.monotonic()
                self.spawn(self.worker.run(_OWNER, beat))

        self.on_chores.add(chore)

    def call_soon(self, work: Callable[[], object]) -> None:
        """Run something in the event loop, from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the server has stopped
                self._loop.call_soon_threadsafe(work)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("a background task failed", exc_info=error)

    # --- the model ---------------------------------------------------------------------------------------------------

    @property
    def pipe(self) -> GameCraftPipeline:
        """The model. Raises NotReadyError while there is none."""
        if self._pipe is None or not self.ready.is_set():
            raise NotReadyError(self.failure or "the model is still being loaded; try again in a moment")
        return self._pipe

    def model_info(self) -> ModelInfo:
        """What clients are told about the model."""
        config = self.pipe.config
        return ModelInfo(
            name=self.config.model.name if self.config.model else "embedded",
            height=config.height,
            width=config.width,
            chunk_frames=config.chunk_frames,
            fps=config.fps,
            steps=config.num_inference_steps,
            guidance=config.guidance_scale,
        )

    async def _load_model(self) -> None:
        try:
            self._pipe = await self.worker.run(_OWNER, self._load)
            self.steps_loaded = 1
            chunk_bytes = await self.worker.run(_OWNER, partial(_warm_up, self._pipe))
            longest = min(MAX_FRAMES // self._pipe.config.chunk_frames, self.config.session_bytes // chunk_bytes)
            self.max_chunks, self.steps_loaded = max(1, longest), 2
        except Exception as error:
            _log.exception("the model could not be loaded")
            reason = str(error) if isinstance(error, GameCraftError) else "the server's log says why"
            self.failure = f"the model could not be loaded: {reason}"
        finally:
            self.ready.set()

    # --- sessions ----------------------------------------------------------------------------------------------------

    async def new_session(self, request: NewSession) -> tuple[Session, NDArray[np.uint8]]:
        """A session at its start, and the picture it shows, uint8 [H, W, 3].

        Raises:
            UnknownIdError: there is no such picture or upload.
            InputError: a setting is not valid.
        """
        image, prompt = self._start_picture(request)
        settings = request.model_copy(update={"prompt": prompt}) if request.prompt is None else request
        return await self.begin(settings, image=image)

    async def begin(
        self,
        settings: SessionSettings,
        *,
        image: NDArray[np.uint8] | None = None,
        video: NDArray[np.uint8] | None = None,
    ) -> tuple[Session, NDArray[np.uint8]]:
        """As ``new_session``, from frames: an image uint8 [H, W, 3] or a video uint8 [F, H, W, 3].

        Raises:
            InputError: a setting or the start is not valid.
        """
        session = Session(self.pipe)
        reset = partial(
            session.reset,
            image,
            video=video,
            prompt=settings.prompt or "",
            negative_prompt=settings.negative_prompt,
            seed=random_seed() if settings.seed is None else settings.seed,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            smoothing=settings.smoothing,
        )
        return session, await self.worker.run(_OWNER, reset)

    async def new_game(self, request: NewSession) -> Game:
        """A new session that is kept. Raises as ``new_session``, and InputError if there is no place for another."""
        session, picture = await self.new_session(request)
        game = Game(session=session, picture=picture)
        await self.store.add(game)
        return game

    def _start_picture(self, request: NewSession) -> tuple[NDArray[np.uint8], str]:
        if request.image.upload is not None:
            return self.uploads.read(request.image.upload), ""
        named = gallery().get(request.image.gallery or "")
        if named is None:
            raise UnknownIdError("there is no such gallery picture")
        return np.array(open_picture(named.path)), named.caption_long

    async def _chores(self) -> None:
        while True:
            await asyncio.sleep(_CHORES_SECONDS)
            for chore in list(self.on_chores):
                chore()
            try:
                await self.store.park(self.config.park_seconds)
            except OSError:
                _log.exception("a session could not be parked")

    def _measure(self) -> None:
        watch = self.metrics.watch
        watch("players", "Connections that have a place", lambda: self.lobby.playing)
        watch("waiting", "Connections in line for a place", lambda: self.lobby.waiting)
        watch(
            "turns_waiting", "Chunks and other uses of the model that wait for their turn", lambda: self.worker.waiting
        )
        watch("sessions", "Sessions kept", lambda: len(self.store.entries()))
        watch("sessions_in_memory", "Sessions not parked on disk", lambda: len(self.store.loaded()))
        watch("ready", "1 when the model is loaded", lambda: float(self._pipe is not None and self.ready.is_set()))


def random_seed() -> int:
    """A seed short enough to be read out and typed."""
    return secrets.randbelow(2**32)


def _warm_up(pipe: GameCraftPipeline) -> int:
    """Make one chunk, so that the first player need not wait longer than the others; returns bytes per chunk."""
    session = Session(pipe)
    # An empty prompt is a single token, which several ranks cannot share.
    session.reset(
        np.zeros((pipe.config.height, pipe.config.width, 3), np.uint8), prompt="a village with houses and trees"
    )
    latents = session.step([Action()] * pipe.config.chunk_frames).latents
    return int(latents.numel() * 4)  # float32 in memory and on disk
