"""Make the video of a session file, as saved by the server, the page or `Session.save`.

What is stored in the file is only decoded; without stored latents every chunk is generated again. On the machine and
with the model that played it, the result is the same bit for bit; --verify generates everything again and compares.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gamecraft.errors import InputError

if TYPE_CHECKING:
    from gamecraft.pipeline import GameCraftPipeline
    from gamecraft.session import Session

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft replay`."""
    parser.add_argument("session", type=Path, metavar="SESSION", help="the session file")
    parser.add_argument("--output", type=Path, metavar="OUT.mp4", help="the video to write")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="model folder; default: the embedded one")
    parser.add_argument("--verify", action="store_true", help="generate again and compare; exit code 1 if it differs")


def run(args: argparse.Namespace) -> int:
    """Replay; returns the exit code."""
    if args.output is None and not args.verify:
        raise InputError("nothing to do; give --output or --verify")
    if args.output is not None and (args.output.suffix.lower() != ".mp4" or args.output.is_dir()):
        raise InputError(f"the output is {args.output}, expected the name of a file that ends in .mp4")
    from gamecraft.model_folder import check_model_folder
    from gamecraft.session_file import read_session

    chunks, latents = read_session(args.session)[1:3]
    if not chunks:
        raise InputError(f"nothing has been played in {args.session}")
    if args.verify and latents is None:
        raise InputError(f"{args.session} has no stored latents to compare with")
    check_model_folder(args.model)
    from gamecraft.commands.progress import frame_progress
    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.loading import load_pipeline

    quiet_libraries()
    pipe = load_pipeline(args.model)
    frames = sum(len(chunk) for chunk in chunks)
    passes = (latents is None) + (args.output is not None) + args.verify
    with frame_progress(frames * passes) as on_progress:
        session, done = _load(args.session, pipe, on_progress), frames * (latents is None)
        if args.output is not None:
            _write(session, args.output, lambda count: on_progress(done + count))
            done += frames
        differs = _verify(session, pipe, lambda count: on_progress(done + count)) if args.verify else None
    if args.output is not None:
        print(f"{args.output}: {frames} frames, {frames / pipe.config.fps:.1f} s")
    if differs is not None:
        print(f"gamecraft replay: chunk {differs} comes out differently", file=sys.stderr)
        return 1
    if args.verify:
        print(f"{args.session}: all {len(chunks)} chunks come out the same, bit for bit")
    return 0


def _load(path: Path, pipe: "GameCraftPipeline", on_progress: Callable[[float], None]) -> "Session":
    from gamecraft.session import Session

    loading = Session.load_by_chunk(path, pipe)
    while True:
        try:
            done, _ = next(loading)
        except StopIteration as end:
            session: Session = end.value[0]
            return session
        on_progress(done * pipe.config.chunk_frames)


def _write(session: "Session", output: Path, on_progress: Callable[[float], None]) -> None:
    from gamecraft.video import VideoWriter

    with VideoWriter(output, session.pipe.config.fps) as writer:
        for index in range(session.num_chunks):
            writer.add(session.frames(index))
            on_progress((index + 1) * session.pipe.config.chunk_frames)


def _verify(session: "Session", pipe: "GameCraftPipeline", on_progress: Callable[[float], None]) -> int | None:
    """Generate a session again; the first chunk with other latents, None if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        session.save(inputs, latents=False)
        again = _load(inputs, pipe, on_progress)
    for index in range(session.num_chunks):
        if not session.latents(index).equal(again.latents(index)):
            return index
    return None
