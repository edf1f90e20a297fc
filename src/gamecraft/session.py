"""A playthrough: reset, step, go back, branch off, save. The same inputs give the same frames, bit for bit."""

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gamecraft.actions import Action
from gamecraft.chunk_pipeline import Prompts
from gamecraft.denoising import StepCallback
from gamecraft.errors import ActionError, InputError
from gamecraft.gallery import gallery_picture
from gamecraft.pictures import Picture, open_picture
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.rollout import Chunk, PlaySettings, PlayState
from gamecraft.session_file import Change, SessionData, read_session, write_session
from gamecraft.trajectory import CameraState

__all__ = ["Session"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scene:
    """What a chunk is made with beside its actions."""

    settings: PlaySettings
    prompt: str
    prompts: Prompts


class Session:
    """One play of a model, made of whole chunks.

    Several sessions can share a pipeline, one step at a time. Nothing of a session changes but by its methods; what it
    hands out is never changed afterwards.
    """

    def __init__(self, pipe: GameCraftPipeline) -> None:
        self.pipe = pipe
        self._data: SessionData | None = None

    # --- playing -----------------------------------------------------------------------------------------------------

    def reset(
        self,
        image: Picture | str | Path | None = None,
        *,
        video: NDArray[np.uint8] | None = None,
        prompt: str = "",
        negative_prompt: str = "",
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        smoothing: float = 0.0,
        height: int | None = None,
        width: int | None = None,
    ) -> NDArray[np.uint8]:
        """Start anew from a picture or a video; see ``GameCraftPipeline.stream`` for the settings.

        Args:
            image: a PIL image, uint8 [H, W, 3], the name of a gallery picture, or a file.
            video: frames uint8 [F, H, W, 3], instead of an image.

        Returns:
            the picture that the first chunk follows, uint8 [H, W, 3] in the size of the play.

        Raises:
            InputError: a setting or the start is not valid; the session is then as it was.
        """
        if isinstance(image, str | Path):
            named = gallery_picture(str(image))
            image = open_picture(named.path if named else image)
        settings = self.pipe.play_settings(
            seed=seed,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            smoothing=smoothing,
        )
        start = self.pipe.start_frames(image=image, video=video, height=height, width=width)
        self._begin(SessionData(settings=settings, prompt=prompt, negative_prompt=negative_prompt, start=start))
        picture: NDArray[np.uint8] = start[-1]
        return picture

    def step(
        self,
        actions: Sequence[Action],
        *,
        on_step: StepCallback | None = None,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> Chunk:
        """Play one chunk.

        Args:
            actions: one for each frame of a chunk.
            on_step: called after each denoising step; an error it raises leaves the session as it was.
            on_chunk: called with the chunk as soon as it can be shown; what the session does then takes a moment more.

        Raises:
            InputError: the session has not been reset, or it is not one chunk of actions.
        """
        self._playing()
        if len(actions) != (frames := self.pipe.config.chunk_frames):
            raise ActionError(f"received {len(actions)} actions; expected {frames}, one for each frame of a chunk")
        scene = self._scenes[-1]
        chunk, state = self.pipe.play_chunk(
            self._states[-1], actions, scene.prompts, scene.settings, on_step=on_step, on_chunk=on_chunk
        )
        self._add(chunk.actions, state)
        return chunk

    def change(self, *, prompt: str | None = None, seed: int | None = None) -> None:
        """Another prompt or seed from the next chunk on; None leaves it. A rewind to an earlier chunk takes it back.

        Raises:
            InputError: not a valid prompt or seed; the session is then as it was.
        """
        data, scene = self._playing(), self._scenes[-1]
        if seed is not None:
            scene = dataclasses.replace(scene, settings=dataclasses.replace(scene.settings, seed=seed))
        if prompt is not None and prompt != scene.prompt:
            dataclasses.replace(data, prompt=prompt)  # refuses what is no prompt
            prompts = self.pipe.encode_prompts(prompt, data.negative_prompt, guided=scene.settings.guided)
            scene = dataclasses.replace(scene, prompt=prompt, prompts=prompts)
        self._scenes[-1] = scene

    def rewind(self, num_chunks: int) -> None:
        """Go back to when ``num_chunks`` chunks had been played; 0 is the start.

        Raises:
            InputError: fewer chunks have been played.
        """
        self._playing()
        if not 0 <= num_chunks <= self.num_chunks:
            raise InputError(f"cannot rewind to {num_chunks} chunks, {self.num_chunks} have been played")
        del self._states[num_chunks + 1 :], self._scenes[num_chunks + 1 :], self._actions[num_chunks:]

    def fork(self) -> Self:
        """A second session that stands where this one does; each goes its own way from here."""
        twin = type(self)(self.pipe)
        twin._data = self._playing()
        twin._states, twin._scenes, twin._actions = list(self._states), list(self._scenes), list(self._actions)
        return twin

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def num_chunks(self) -> int:
        """Chunks played."""
        self._playing()
        return len(self._actions)

    @property
    def settings(self) -> PlaySettings:
        """Seed, steps, guidance and smoothing of the next chunk."""
        self._playing()
        return self._scenes[-1].settings

    @property
    def prompt(self) -> str:
        """The prompt of the next chunk."""
        self._playing()
        return self._scenes[-1].prompt

    @property
    def negative_prompt(self) -> str:
        """What guidance leads away from."""
        return self._playing().negative_prompt

    @property
    def start(self) -> NDArray[np.uint8]:
        """What the first chunk follows, uint8 [1 or chunk_frames, H, W, 3]."""
        return self._playing().start

    @property
    def camera(self) -> CameraState:
        """The walker after the last frame; a play starts level at the origin."""
        self._playing()
        return self._states[-1].camera

    @property
    def actions(self) -> list[Action]:
        """The action of every frame played."""
        self._playing()
        return [action for chunk in self._actions for action in chunk]

    @property
    def poses(self) -> NDArray[np.float64]:
        """[F, 4, 4] camera-to-world of every frame played, metres."""
        self._playing()
        tracks = [state.history.poses[-1] for state in self._states[1:]]
        return np.concatenate([np.empty((0, 4, 4)), *tracks])

    def latents(self, index: int) -> Tensor:
        """Latents [1, C, t, h, w] of a chunk that has been played."""
        if not 0 <= index < self.num_chunks:
            raise InputError(f"there is no chunk {index}, {self.num_chunks} have been played")
        return self._states[index + 1].history.clips[-1]

    def frames(self, index: int) -> NDArray[np.uint8]:
        """Frames uint8 [F, H, W, 3] of a chunk that has been played, decoded again; the same as ``step`` gave."""
        latents = self.latents(index)
        drawing = self.pipe.draw(self._states[index].history, self._states[index + 1].history.poses[-1])
        return self.pipe.to_frames(self.pipe.decode_latents(latents, drawing))

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, latents: bool = True, notes: Mapping[str, Any] | None = None) -> None:
        """Write the session to one file, whole or not at all.

        Args:
            latents: also store what was generated, so that loading need not generate it again.
            notes: JSON values that the caller wants back from ``load``.

        Raises:
            OSError: the file cannot be written.
        """
        clips = [self.latents(index) for index in range(self.num_chunks)] if latents else None
        first, changes = self._scenes[0], []
        for index in range(1, self.num_chunks + 1):
            if (scene := self._scenes[index]) is not self._scenes[index - 1]:
                changes.append(Change(chunk=index, seed=scene.settings.seed, prompt=scene.prompt))
        data = dataclasses.replace(
            self._playing(), settings=first.settings, prompt=first.prompt, changes=tuple(changes)
        )
        write_session(Path(path), data, self._actions, clips, dict(notes or {}))

    @classmethod
    def load(cls, path: str | Path, pipe: GameCraftPipeline) -> tuple[Self, dict[str, Any]]:
        """A session from its file, and the notes in it. Without stored latents all chunks are generated again.

        On the machine, with the model, that wrote the file, the play goes on exactly as it would have.

        Raises:
            InputError: the file is missing, damaged, not a session, or of a model with other sizes.
        """
        loading = cls.load_by_chunk(path, pipe)
        while True:
            try:
                next(loading)
            except StopIteration as end:
                loaded: tuple[Self, dict[str, Any]] = end.value
                return loaded

    @classmethod
    def load_by_chunk(
        cls, path: str | Path, pipe: GameCraftPipeline
    ) -> Generator[tuple[int, int], None, tuple[Self, dict[str, Any]]]:
        """``load`` for callers that show progress or share the pipeline: yields (chunks there, chunks of the file)."""
        data, actions, latents, notes = read_session(Path(path))
        session = cls(pipe)
        config = pipe.config
        if len(data.start) not in (1, config.chunk_frames) or any(
            len(chunk) != config.chunk_frames for chunk in actions
        ):
            raise InputError(
                f"{path} is a session of a model with other chunks; this one has {config.chunk_frames} frames"
            )
        picture = data.start[-1]  # refused here if the model cannot do its size
        pipe.start_frames(image=picture, height=picture.shape[0], width=picture.shape[1])
        session._begin(data)
        clip = session._states[0].history.clips[0]
        shape = (len(actions), clip.shape[1], pipe.num_chunk_latents, *clip.shape[3:])
        if latents is not None and latents.shape != shape:
            raise InputError(f"{path} holds latents {list(latents.shape)}, expected {list(shape)} for this model")
        changes = {change.chunk: change for change in data.changes}
        for index, chunk in enumerate(actions, start=1):
            if latents is None:
                session.step(chunk)
            else:
                session._resume(chunk, latents[index - 1 : index].to(clip.device))
            if change := changes.get(index):
                session.change(prompt=change.prompt, seed=change.seed)
            if latents is None:
                yield index, len(actions)
        return session, notes

    def _begin(self, data: SessionData) -> None:
        state = self.pipe.start_state(data.start)
        prompts = self.pipe.encode_prompts(data.prompt, data.negative_prompt, guided=data.settings.guided)
        self._data = data
        self._states: list[PlayState] = [state]
        self._scenes = [_Scene(settings=data.settings, prompt=data.prompt, prompts=prompts)]
        self._actions: list[tuple[Action, ...]] = []

    def _resume(self, actions: tuple[Action, ...], latents: Tensor) -> None:
        state = self.pipe.next_state(self._states[-1], actions, latents, self._scenes[-1].settings)
        self._add(actions, state)

    def _add(self, actions: tuple[Action, ...], state: PlayState) -> None:
        self._states.append(state)
        self._scenes.append(self._scenes[-1])
        self._actions.append(actions)

    def _playing(self) -> SessionData:
        if self._data is None:
            raise InputError("the session has no start yet; call reset first")
        return self._data
