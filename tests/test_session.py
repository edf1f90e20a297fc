"""A play is a function of its inputs: replayed, rewound, forked, saved and loaded it gives the same bits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gamecraft.actions import Action, motion, parse_script
from gamecraft.errors import GameCraftError, InputError
from gamecraft.gallery import gallery
from gamecraft.pictures import fit_picture, open_picture
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.rollout import Chunk
from gamecraft.session import Session
from gamecraft.trajectory import CameraState, integrate
from tiny import CHUNK, SIZE, tiny_pipeline

CHUNKS = [parse_script(text) for text in ("w 5f", "w+left 3f, look:up 20deg over 2f", "d 5f", "s+up 5f")]

WALK = [action for chunk in CHUNKS for action in chunk]


@pytest.fixture
def session(pipe: GameCraftPipeline, picture: np.ndarray) -> Session:
    session = Session(pipe)
    session.reset(picture, prompt="a village", seed=5, smoothing=0.5)
    return session


def play(session: Session, chunks: list[list[Action]]) -> list[Chunk]:
    return [session.step(actions) for actions in chunks]


def same(first: list[Chunk], second: list[Chunk]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a.frames, b.frames) and torch.equal(a.latents, b.latents) and np.array_equal(a.poses, b.poses)
        for a, b in zip(first, second, strict=True)
    )


# --- identities ------------------------------------------------------------------------------------------------------


def test_a_session_gives_the_frames_of_the_pipeline(
    session: Session, pipe: GameCraftPipeline, picture: np.ndarray
) -> None:
    stream = pipe.stream(
        image=picture,
        prompt="a village",
        actions=WALK,
        generator=torch.Generator().manual_seed(5),
        smoothing=0.5,
    )
    assert same(play(session, CHUNKS), list(stream))


def test_a_replay_is_the_same(session: Session, pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    first = play(session, CHUNKS)
    session.reset(picture, prompt="a village", seed=5, smoothing=0.5)
    assert same(play(session, CHUNKS), first)
    session.reset(picture, prompt="a village", seed=6, smoothing=0.5)
    assert not same(play(session, CHUNKS), first)


@pytest.mark.parametrize("kept", [0, 1, 3, 4])
def test_after_a_rewind_the_play_goes_on_as_from_there(session: Session, kept: int) -> None:
    first = play(session, CHUNKS)
    session.rewind(kept)
    assert session.num_chunks == kept
    assert len(session.actions) == kept * CHUNK
    assert same(play(session, CHUNKS[kept:]), first[kept:])


def test_after_a_rewind_one_can_go_another_way(session: Session) -> None:
    first = play(session, CHUNKS)
    session.rewind(1)
    other = play(session, [CHUNKS[3]])
    assert not same(other, first[1:2])
    session.rewind(1)
    assert same(play(session, CHUNKS[1:]), first[1:])


def test_forks_are_independent(session: Session) -> None:
    play(session, CHUNKS[:2])
    twin = session.fork()
    left = play(session, [CHUNKS[2]])
    right = play(twin, [CHUNKS[3]])
    assert not same(left, right)
    assert session.num_chunks == twin.num_chunks == 3
    twin.rewind(2)
    assert same(play(twin, [CHUNKS[2]]), left)
    assert session.num_chunks == 3


@pytest.mark.parametrize("latents", [True, False])
def test_a_loaded_session_is_the_same_and_goes_on_the_same(
    session: Session, pipe: GameCraftPipeline, tmp_path: Path, latents: bool
) -> None:
    first = play(session, CHUNKS[:3])
    session.save(tmp_path / "play", latents=latents, notes={"level": [1, "é"]})
    loaded, notes = Session.load(tmp_path / "play", pipe)
    assert notes == {"level": [1, "é"]}
    assert loaded.settings == session.settings
    assert loaded.actions == session.actions
    assert loaded.camera == session.camera
    assert np.array_equal(loaded.poses, session.poses)
    assert np.array_equal(loaded.start, session.start)
    assert all(np.array_equal(loaded.frames(i), chunk.frames) for i, chunk in enumerate(first))
    assert same(play(loaded, CHUNKS[3:]), play(session, CHUNKS[3:]))


def test_a_session_from_a_video_with_a_long_memory_is_saved_too(tmp_path: Path) -> None:
    pipe = tiny_pipeline(history_clips=2, history_rays="true")
    session = Session(pipe)
    video = np.random.default_rng(2).integers(0, 256, (CHUNK, *SIZE, 3), dtype=np.uint8)
    assert np.array_equal(session.reset(video=video, guidance_scale=2.0, negative_prompt="fog"), video[-1])
    play(session, CHUNKS[:2])
    session.save(tmp_path / "play")
    loaded, _ = Session.load(tmp_path / "play", pipe)
    assert same(play(loaded, CHUNKS[2:]), play(session, CHUNKS[2:]))


@pytest.mark.parametrize("latents", [True, False])
def test_prompt_and_seed_change_on_the_way_and_are_saved(
    session: Session, pipe: GameCraftPipeline, tmp_path: Path, latents: bool
) -> None:
    plain = play(session, CHUNKS)
    session.rewind(1)
    session.change(prompt="a dark forest at night")
    first = play(session, CHUNKS[1:2])
    session.change(seed=9)
    second = play(session, CHUNKS[2:3])
    assert not same(first, plain[1:2])
    assert not same(second, plain[2:3])
    session.change(prompt="the end")
    session.save(tmp_path / "play", latents=latents)
    loaded, _ = Session.load(tmp_path / "play", pipe)
    for one in (session, loaded):
        assert (one.prompt, one.settings.seed) == ("the end", 9)
    assert same(play(loaded, CHUNKS[3:]), play(session, CHUNKS[3:]))
    loaded.rewind(1)
    assert (loaded.prompt, loaded.settings.seed) == ("a dark forest at night", 5)  # as when chunk 1 was begun
    assert same(play(loaded, CHUNKS[1:2]), first)


# --- camera and start ------------------------------------------------------------------------------------------------


def test_the_camera_is_that_of_the_whole_walk(session: Session) -> None:
    assert session.camera == CameraState()
    play(session, CHUNKS)
    poses, end = integrate(motion(WALK, 0.5))
    assert session.camera == end
    assert np.array_equal(session.poses, poses)


def test_a_name_is_a_gallery_picture_and_a_path_a_file(
    pipe: GameCraftPipeline, picture: np.ndarray, tmp_path: Path
) -> None:
    session = Session(pipe)
    shown = session.reset("village")
    assert np.array_equal(shown, fit_picture(open_picture(gallery()["village"].path), *SIZE))
    Image.fromarray(picture).save(tmp_path / "start.png")
    assert np.array_equal(session.reset(tmp_path / "start.png"), picture)


def test_an_interrupted_step_leaves_the_session_as_it_was(session: Session) -> None:
    play(session, CHUNKS[:1])

    def stop(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    twin = session.fork()
    with pytest.raises(KeyboardInterrupt):
        session.step(CHUNKS[1], on_step=stop)
    assert session.num_chunks == 1
    assert same(play(session, CHUNKS[1:]), play(twin, CHUNKS[1:]))


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use", [lambda s: s.step(CHUNKS[0]), lambda s: s.rewind(0), lambda s: s.save("x"), lambda s: s.camera]
)
def test_nothing_works_before_reset(pipe: GameCraftPipeline, use: Callable[[Session], Any]) -> None:
    with pytest.raises(InputError, match="call reset first"):
        use(Session(pipe))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda s: s.step([]), "received 0 actions; expected 5"),
        (lambda s: s.step([Action()] * 6), "received 6 actions"),
        (lambda s: s.rewind(2), "cannot rewind to 2 chunks, 1 have been played"),
        (lambda s: s.rewind(-1), "cannot rewind to -1"),
        (lambda s: s.frames(1), "there is no chunk 1"),
        (lambda s: s.reset("no-such-picture.png"), "no image at"),
        (lambda s: s.reset(), "either an image or a video"),
        (lambda s: s.reset("village", seed=-1), "the seed is -1"),
        (lambda s: s.change(prompt="other", seed=-1), "the seed is -1"),
        (lambda s: s.change(prompt="x" * 10_001), "at most 10000 characters"),
        (lambda s: s.reset("village", prompt="x" * 10_001), "at most 10000 characters"),
    ],
)
def test_a_refused_call_leaves_the_session_as_it_was(
    session: Session, use: Callable[[Session], Any], message: str
) -> None:
    play(session, CHUNKS[:1])
    with pytest.raises(GameCraftError, match=message):
        use(session)
    assert session.num_chunks == 1
    assert session.settings.seed == 5


@pytest.fixture(scope="module")
def saved(pipe: GameCraftPipeline, picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "play"
    session = Session(pipe)
    session.reset(picture)
    play(session, CHUNKS[:1])
    session.save(path)
    return path


def altered(saved: Path, path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> Path:

    with safe_open(saved, framework="pt") as file:
        values = json.loads(file.metadata()["gamecraft_session"])
    tensors = load_file(saved)
    change(tensors, values)
    save_file(tensors, path, {"gamecraft_session": json.dumps(values)})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, v: v.update(version=2), "version 1"),
        (lambda t, v: v.update(surprise=1), "version 1"),
        (lambda t, v: v["settings"].update(seed=-1), "the seed is -1"),
        (lambda t, v: v["settings"].update(colour=1), "unexpected keyword"),
        (lambda t, v: v.update(settings=None), "must be objects"),
        (lambda t, v: v.update(prompt=7), "a prompt is one text"),
        (lambda t, v: v.update(chunks=["{}"]), "expected actions as"),
        (lambda t, v: v.update(chunks=v["chunks"] * 2), "not finite float32 for 2 chunks"),
        (lambda t, v: v.update(chunks={}), "a list of actions"),
        (lambda t, v: v.update(changes=[1]), "a list of objects"),
        (lambda t, v: v.update(changes=[{"chunk": 2, "seed": 1, "prompt": ""}]), "at chunks 1 to 1"),
        (lambda t, v: v.update(changes=[{"chunk": 1, "seed": -1, "prompt": ""}]), "the seed is -1"),
        (lambda t, v: v.update(changes=[{"chunk": 1, "seed": 1, "prompt": 1}]), "a prompt is one text"),
        (lambda t, v: t.update(other=torch.zeros(1)), "nothing beside it but latents"),
        (lambda t, v: t.update(start=t["start"].float()), "uint8"),
        (lambda t, v: t.update(start=t["start"][:, :30].contiguous()), "multiples of 16"),
        (lambda t, v: t.update(latents=t["latents"] * float("nan")), "not finite"),
        (lambda t, v: t.update(latents=t["latents"][:, :1].contiguous()), r"expected \[1, 4, 2, 4, 6\]"),
    ],
)
def test_a_session_file_is_checked(
    saved: Path, pipe: GameCraftPipeline, tmp_path: Path, change: Callable[..., None], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Session.load(altered(saved, tmp_path / "bad", change), pipe)


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 64, b"\xff" * 64])
def test_other_files_are_no_sessions(pipe: GameCraftPipeline, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a session"):
        Session.load(tmp_path / "bad", pipe)
    with pytest.raises(InputError, match="there is no session"):
        Session.load(tmp_path / "none", pipe)


def test_cut_off_session_files_are_refused(saved: Path, pipe: GameCraftPipeline, tmp_path: Path) -> None:
    content = saved.read_bytes()
    for length in range(0, len(content), len(content) // 20):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(InputError):
            Session.load(tmp_path / "cut", pipe)


def test_a_session_of_a_model_with_other_chunks_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="other chunks"):
        Session.load(saved, tiny_pipeline(chunk_frames=9))


def test_an_unwritable_place_is_an_os_error_and_leaves_nothing(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        session.save(tmp_path / "file" / "play")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
