"""REST: all but the play itself."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.background import BackgroundTask

from gamecraft.errors import InputError
from gamecraft.gallery import gallery_picture
from gamecraft.serving.bodies import body_bytes, body_file
from gamecraft.serving.encoding import encode_picture
from gamecraft.serving.frames import PictureFormat
from gamecraft.serving.games import Entry
from gamecraft.serving.jobs import Jobs
from gamecraft.serving.jobs import Request as JobRequest
from gamecraft.serving.messages import Error, NewSession
from gamecraft.serving.player import Player
from gamecraft.serving.rest_models import (
    Gallery,
    JobInfo,
    JobList,
    Models,
    Ready,
    SessionInfo,
    SessionList,
    UploadInfo,
)
from gamecraft.serving.server import GameServer
from gamecraft.serving.socket import gallery_pictures
from gamecraft.serving.store import UnknownIdError
from gamecraft.session import Session

__all__ = ["rest_router"]

_T = TypeVar("_T")
_RAW = {"requestBody": {"required": True, "content": {"application/octet-stream": {}}}}


def rest_router(server: GameServer, jobs: Jobs) -> APIRouter:
    """All REST paths of a server."""
    router = APIRouter()
    for part in (_about, _pictures, _sessions, _session_files):
        part(router, server)
    _jobs(router, jobs)
    return router


def _about(router: APIRouter, server: GameServer) -> None:
    @router.get("/api/health", tags=["server"])
    async def health() -> dict[str, str]:
        """The server runs; this path needs no token."""
        return {"status": "ok"}

    @router.get("/api/ready", tags=["server"], responses={503: {"model": Ready}})
    async def ready() -> JSONResponse:
        """Whether the model can be used: 200 if so, 503 otherwise."""
        if not server.ready.is_set():
            return JSONResponse(Ready(status="loading").model_dump(), 503)
        if server.failure is not None:
            return JSONResponse(Ready(status="failed", message=server.failure).model_dump(), 503)
        return JSONResponse(Ready(status="ready").model_dump())

    @router.get("/api/models", tags=["server"])
    async def models() -> Models:
        """The models of this server."""
        return Models(models=[server.model_info()])

    @router.get("/metrics", tags=["server"], response_class=Response)
    async def metrics() -> Response:
        """Measurements, in Prometheus' text format."""
        return Response(generate_latest(server.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _pictures(router: APIRouter, server: GameServer) -> None:
    @router.get("/api/gallery", tags=["pictures"])
    async def pictures() -> Gallery:
        """The start pictures that come with gamecraft."""
        return Gallery(pictures=gallery_pictures())

    @router.get("/api/gallery/{name}.png", tags=["pictures"], response_class=FileResponse)
    async def picture(name: str) -> FileResponse:
        """A start picture."""
        if (found := gallery_picture(name)) is None:
            raise UnknownIdError("there is no such gallery picture")
        return FileResponse(found.path, media_type="image/png")

    @router.post("/api/uploads", tags=["pictures"], status_code=201, openapi_extra=_RAW)
    async def upload(request: Request) -> UploadInfo:
        """Upload a start picture: the body is a PNG, JPEG or WebP file."""
        config = server.pipe.config
        content = await body_bytes(request, server.config.upload_bytes)
        size = {"height": config.height, "width": config.width}
        id = await _on_disk(server, partial(server.uploads.add, content, **size))
        return UploadInfo(upload=id, url=f"/api/uploads/{id}.png", **size)

    @router.get("/api/uploads/{upload}.png", tags=["pictures"], response_class=FileResponse)
    async def uploaded(upload: str) -> FileResponse:
        """An uploaded picture as the model will see it."""
        return FileResponse(server.uploads.path(upload), media_type="image/png")


def _sessions(router: APIRouter, server: GameServer) -> None:
    @router.get("/api/sessions", tags=["sessions"])
    async def sessions() -> SessionList:
        """All sessions, the newest first."""
        return SessionList(sessions=[_info(server, entry) for entry in await server.store.all_entries()])

    @router.post("/api/sessions", tags=["sessions"], status_code=201)
    async def create(request: NewSession) -> SessionInfo:
        """Begin a session; play it over the WebSocket with ``resume``."""
        return _info(server, (await server.new_game(request)).entry())

    @router.get("/api/sessions/{session}", tags=["sessions"])
    async def session(session: str) -> SessionInfo:
        """One session."""
        return _info(server, server.store.entry(session))

    @router.delete("/api/sessions/{session}", tags=["sessions"], status_code=204)
    async def delete(session: str) -> None:
        """Remove a session for good."""
        game = await server.store.delete(session)
        if game is not None and isinstance(game.player, Player):
            await game.player.lose(Error(code="unknown", message="the session has been deleted"))

    @router.get("/api/sessions/{session}/thumbnail.jpg", tags=["sessions"], response_class=FileResponse)
    async def thumbnail(session: str) -> FileResponse:
        """What the session showed when it was last written to disk."""
        return FileResponse(server.store.thumbnail(session), media_type="image/jpeg")

    @router.get("/api/sessions/{session}/chunks/{chunk}.jpg", tags=["sessions"], response_class=Response)
    async def chunk_picture(session: str, chunk: int) -> Response:
        """The last picture of a chunk; chunk -1 is the start."""
        game = await server.store.open(session, server.pipe)
        if not -1 <= chunk < game.session.num_chunks:
            raise UnknownIdError("there is no such chunk")

        def picture() -> bytes:
            frames = game.session.start if chunk == -1 else game.session.frames(chunk)
            return encode_picture(frames[-1], PictureFormat.JPEG, 80)

        return Response(await server.worker.run(game.id, picture), media_type="image/jpeg")


def _session_files(router: APIRouter, server: GameServer) -> None:
    @router.post("/api/sessions/file", tags=["sessions"], status_code=201, openapi_extra=_RAW)
    async def add_file(request: Request) -> SessionInfo:
        """Upload a session file; play it over the WebSocket with ``resume``."""
        pipe = server.pipe
        async with body_file(request, server.config.session_file_bytes, server.config.state / "sessions") as path:
            return _info(server, await server.store.add_file(path, pipe))

    @router.get("/api/sessions/{session}/file", tags=["sessions"], response_class=FileResponse)
    async def get_file(session: str, latents: bool = True) -> FileResponse:
        """The session file. Without latents it is small, and its chunks are made again when it is opened."""
        game = await server.store.open(session, server.pipe)
        snapshot: Session = await server.worker.run(game.id, game.session.fork)
        path = server.config.state / "sessions" / f".{server.config.shard.new_id()}.download.tmp"
        await _on_disk(server, partial(snapshot.save, path, latents=latents, notes=game.notes()))
        name = f"gamecraft-{session[:8]}.safetensors"
        remove = BackgroundTask(partial(_remove, path))
        return FileResponse(path, media_type="application/octet-stream", filename=name, background=remove)


def _jobs(router: APIRouter, jobs: Jobs) -> None:
    @router.post("/api/jobs", tags=["jobs"], status_code=202)
    async def submit(request: Annotated[JobRequest, Body()]) -> JobInfo:
        """Have a video made: of a script (``image``, ``actions``, ...), of what was played (``session``), or of that
        and a script that is then played on in it (``session``, ``actions``)."""
        return JobInfo.of(jobs.submit(request))

    @router.get("/api/jobs", tags=["jobs"])
    async def all_jobs() -> JobList:
        """All jobs, the newest first."""
        return JobList(jobs=[JobInfo.of(job) for job in jobs.all()])

    @router.get("/api/jobs/{job}", tags=["jobs"])
    async def get_job(job: str) -> JobInfo:
        """One job."""
        return JobInfo.of(jobs.get(job))

    @router.delete("/api/jobs/{job}", tags=["jobs"], status_code=204)
    async def remove_job(job: str) -> None:
        """Cancel a job; remove one that is finished, and its video."""
        jobs.remove(job)

    @router.get("/api/jobs/{job}/video.mp4", tags=["jobs"], response_class=FileResponse)
    async def video(job: str) -> FileResponse:
        """The video of a job that is done."""
        found = jobs.get(job)
        if found.status != "done":
            raise InputError(f"there is no video: the job is {found.status}")
        return FileResponse(jobs.video(found), media_type="video/mp4", filename=f"gamecraft-{job[:8]}.mp4")


def _info(server: GameServer, entry: Entry) -> SessionInfo:
    config = server.pipe.config
    playing = any(game.id == entry.session and game.player is not None for game in server.store.loaded())
    return SessionInfo.of(entry, chunk_seconds=config.chunk_frames / config.fps, playing=playing)


async def _on_disk(server: GameServer, work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(server.disk, work)


async def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
