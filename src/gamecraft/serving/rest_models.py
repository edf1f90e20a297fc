"""What the REST interface answers."""

from typing import Literal

from pydantic import BaseModel

from gamecraft.serving.games import Entry
from gamecraft.serving.jobs import GenerateJob, Job, PlayJob
from gamecraft.serving.messages import ModelInfo, Picture

__all__ = ["Gallery", "JobInfo", "JobList", "Models", "Ready", "SessionInfo", "SessionList", "UploadInfo"]


class Ready(BaseModel):
    """Whether the model can be used."""

    status: Literal["ready", "loading", "failed"]
    message: str = ""


class Models(BaseModel):
    """The models of this server."""

    models: list[ModelInfo]


class Gallery(BaseModel):
    """The start pictures."""

    pictures: list[Picture]


class UploadInfo(BaseModel):
    """An uploaded start picture, in the model's size."""

    upload: str
    width: int
    height: int
    url: str


class SessionInfo(BaseModel):
    """A session: seconds of video, when it changed (seconds since 1970), whether a connection plays it, whether it was
    saved by its player."""

    session: str
    name: str
    chunks: int
    seconds: float
    prompt: str
    seed: int
    changed: float
    playing: bool
    kept: bool
    thumbnail: str

    @classmethod
    def of(cls, entry: Entry, *, chunk_seconds: float, playing: bool) -> "SessionInfo":
        """An entry of the store as clients see it."""
        return cls(
            session=entry.session,
            name=entry.name,
            chunks=entry.chunks,
            seconds=round(entry.chunks * chunk_seconds, 3),
            prompt=entry.prompt,
            seed=entry.seed,
            changed=entry.changed,
            playing=playing,
            kept=entry.kept,
            thumbnail=f"/api/sessions/{entry.session}/thumbnail.jpg",
        )


class SessionList(BaseModel):
    """All sessions, the newest first."""

    sessions: list[SessionInfo]


_Kind = Literal["generate", "play", "session"]
_KINDS: dict[type, _Kind] = {GenerateJob: "generate", PlayJob: "play"}


class JobInfo(BaseModel):
    """A video that is made, ``done`` of ``total`` frames; ``url`` once it is there."""

    job: str
    kind: _Kind
    status: Literal["waiting", "running", "done", "failed", "cancelled"]
    done: int
    total: int
    error: str
    url: str | None

    @classmethod
    def of(cls, job: Job) -> "JobInfo":
        """A job as clients see it."""
        return cls(
            job=job.id,
            kind=_KINDS.get(type(job.request), "session"),
            status=job.status,
            done=job.done,
            total=job.total,
            error=job.error,
            url=f"/api/jobs/{job.id}/video.mp4" if job.status == "done" else None,
        )


class JobList(BaseModel):
    """All jobs, the newest first."""

    jobs: list[JobInfo]
