"""A server's REST interface from Python, and the door to playing there."""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.serving.messages import ModelInfo, Picture
from gamecraft.serving.remote_play import ConnectionLostError, RemotePlay
from gamecraft.serving.rest_models import Gallery, JobInfo, Models, SessionInfo, SessionList, UploadInfo

__all__ = ["Client"]

_M = TypeVar("_M", bound=BaseModel)


class Client:
    """A server, as a context manager.

    Every method raises InputError if the server refuses (its message says why) and ConnectionLostError if it is not
    there.

    Args:
        url: such as ``http://127.0.0.1:8000``.
        token: as the server printed it; not needed for a server of this machine.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str | None = None, *, timeout: float = 60.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url, self._token, self._timeout = url.rstrip("/"), token, timeout
        self._http = httpx2.Client(base_url=self._url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End; nothing changes on the server."""
        self._http.close()

    # --- the server --------------------------------------------------------------------------------------------------

    def wait_until_ready(self, timeout: float = 300.0) -> None:
        """Return when the model is loaded. Raises ConnectionLostError after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while True:
            reason = "it is not there"
            try:
                response = self._http.get("/api/ready")
                if response.status_code == 200:
                    return
                reason = response.json().get("message") or response.json().get("status") or response.text
            except (httpx2.HTTPError, ValueError, AttributeError):
                pass
            if time.monotonic() > end:
                raise ConnectionLostError(f"{self._url} is not ready after {timeout:g} seconds: {reason}")
            time.sleep(0.2)

    def model(self) -> ModelInfo:
        """What the server's model makes."""
        return self._get("/api/models", Models).models[0]

    def gallery(self) -> list[Picture]:
        """The start pictures."""
        return self._get("/api/gallery", Gallery).pictures

    def upload(self, picture: Image.Image | NDArray[np.uint8]) -> str:
        """Upload a start picture, a PIL image or uint8 [H, W, 3]; returns its id."""
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        buffer = BytesIO()
        image.convert("RGB").save(buffer, "PNG")
        return self._send("POST", "/api/uploads", UploadInfo, content=buffer.getvalue()).upload

    # --- sessions ----------------------------------------------------------------------------------------------------

    def play(self, session: str | None = None, *, timeout: float | None = None) -> RemotePlay:
        """Connect to play, and go on with a session if one is given."""
        scheme, place, path, _, _ = urlsplit(f"{self._url}/api/play")
        query = "" if session is None else urlencode({"session": session})
        url = urlunsplit(("wss" if scheme == "https" else "ws", place, path, query, ""))
        play = RemotePlay(url, self._token, timeout=self._timeout if timeout is None else timeout)
        if session is not None:
            try:
                play.request("resume", session=session)
            except BaseException:
                play.close()
                raise
        return play

    def sessions(self) -> list[SessionInfo]:
        """All sessions of the server, the newest first."""
        return self._get("/api/sessions", SessionList).sessions

    def create(self, image: str, *, upload: bool = False, **settings: Any) -> SessionInfo:
        """Begin a session from a gallery picture or, with ``upload``, an uploaded one.

        Args:
            settings: further fields of ``messages.NewSession``.
        """
        values = {"image": {"upload" if upload else "gallery": image}, **settings}
        return self._send("POST", "/api/sessions", SessionInfo, json=values)

    def delete(self, session: str) -> None:
        """Remove a session for good."""
        self._checked(lambda: self._http.delete(f"/api/sessions/{quote(session, safe='')}"))

    def download(self, session: str, path: str | Path, *, latents: bool = True) -> None:
        """Write the session's file, for ``gamecraft replay`` or ``Session.load``."""
        params = {"latents": str(latents).lower()}
        response = self._checked(lambda: self._http.get(f"/api/sessions/{quote(session, safe='')}/file", params=params))
        with write_atomically(Path(path)) as temporary:
            temporary.write_bytes(response.content)

    def add(self, path: str | Path) -> SessionInfo:
        """Upload a session file."""
        return self._send("POST", "/api/sessions/file", SessionInfo, content=Path(path).read_bytes())

    # --- videos ------------------------------------------------------------------------------------------------------

    def generate(self, image: str, actions: str, *, upload: bool = False, **settings: Any) -> JobInfo:
        """Have the video of a script made; settings as in ``NewSession``."""
        values = {"image": {"upload" if upload else "gallery": image}, "actions": actions, **settings}
        return self._send("POST", "/api/jobs", JobInfo, json=values)

    def session_video(self, session: str) -> JobInfo:
        """Have the video of a session made."""
        return self._send("POST", "/api/jobs", JobInfo, json={"session": session}, params={"session": session})

    def play_script(self, session: str, actions: str, **settings: Any) -> JobInfo:
        """Have a script played on in a session, and the video of all of it made; settings as in ``jobs.PlayJob``."""
        values = {"session": session, "actions": actions, **settings}
        return self._send("POST", "/api/jobs", JobInfo, json=values, params={"session": session})

    def job(self, job: str) -> JobInfo:
        """How far a job is."""
        return self._get(f"/api/jobs/{quote(job, safe='')}", JobInfo)

    def cancel(self, job: str) -> None:
        """Cancel a job, or remove a finished one."""
        self._checked(lambda: self._http.delete(f"/api/jobs/{quote(job, safe='')}"))

    def video(self, job: str, path: str | Path, *, on_progress: Callable[[JobInfo], None] | None = None) -> None:
        """Wait for a job and write its video."""
        while (found := self.job(job)).status in ("waiting", "running"):
            if on_progress is not None:
                on_progress(found)
            time.sleep(0.2)
        if found.url is None:
            raise InputError(f"there is no video, the job is {found.status}: {found.error}")
        url = found.url
        response = self._checked(lambda: self._http.get(url))
        with write_atomically(Path(path)) as temporary:
            temporary.write_bytes(response.content)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _get(self, path: str, kind: type[_M]) -> _M:
        return kind.model_validate_json(self._checked(lambda: self._http.get(path)).content)

    def _send(self, method: str, path: str, kind: type[_M], **arguments: Any) -> _M:
        response = self._checked(lambda: self._http.request(method, path, **arguments))
        return kind.model_validate_json(response.content)

    def _checked(self, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        try:
            response = ask()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ConnectionLostError(f"{self._url} cannot be reached: {error}") from None
        if response.is_success:
            return response
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text[:200]
        raise InputError(f"the server refused ({response.status_code}): {message}")
