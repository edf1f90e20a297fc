"""A picture or a video, a prompt and actions become a video with a contact sheet and a JSON sidecar.

Beside OUT.mp4 it writes OUT.png (pictures with the keys held) and OUT.json (all settings; `--from` makes the same video
again). Ctrl-C keeps what there is; `--resume` goes on exactly where it stopped. The published command lines work too,
with `-m gamecraft generate` in place of their script.
"""

import argparse
import dataclasses
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gamecraft.commands.published_flags import add_published_flags, is_published, published_run
from gamecraft.commands.runtime_options import add_runtime_options, runtime_from
from gamecraft.commands.script_help import SCRIPT_HELP
from gamecraft.errors import InputError
from gamecraft.runtime import Runtime, is_writer, world_size

if TYPE_CHECKING:
    from gamecraft.actions import Action
    from gamecraft.generate import Generation
    from gamecraft.output_files import OutputFiles
    from gamecraft.sidecar import GenerateSettings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft generate`; settings that are not given are not in its result."""
    parser.argument_default = argparse.SUPPRESS
    parser.usage = "%(prog)s (--image PICTURE | --video FILE) --actions SCRIPT --output OUT.mp4 [option ...]"
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--image", metavar="PICTURE", help="start picture: a file, or a name of `gamecraft gallery`")
    start.add_argument("--video", metavar="FILE", help="go on from the end of this video")
    parser.add_argument("--prompt", metavar="TEXT", help="the world; a gallery picture brings its own")
    parser.add_argument("--negative-prompt", metavar="TEXT", help="what guidance leads away from")
    parser.add_argument("--actions", metavar="SCRIPT", help=SCRIPT_HELP)
    parser.add_argument("--output", type=Path, metavar="OUT.mp4", help="the video to write")
    parser.add_argument("--model", metavar="FOLDER", help="model folder; default: the embedded one")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps per chunk; default: the model's")
    parser.add_argument("--guidance", type=float, metavar="G", help="guidance scale, 1 is none; default: the model's")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the noise; default: 0")
    parser.add_argument(
        "--smoothing", type=float, metavar="S", help="how slowly keys take effect, 0 (at once) to below 1"
    )
    parser.add_argument(
        "--speed", type=float, metavar="M", help="metres per frame where the script gives none; default: 0.2"
    )
    parser.add_argument(
        "--turn", type=float, metavar="DEG", help="degrees per frame where the script gives none; default: 2"
    )
    parser.add_argument("--height", type=int, metavar="PIXELS", help="default: the model's")
    parser.add_argument("--width", type=int, metavar="PIXELS", help="default: the model's")
    parser.add_argument("--from", dest="source", type=Path, metavar="OUT.json", help="take the settings of a sidecar")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted generation of --output")
    add_runtime_options(parser)
    add_published_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Generate; returns the exit code."""
    if is_published(args):
        from gamecraft.commands.published import run_published

        return run_published(published_run(args))
    if not hasattr(args, "output"):
        raise InputError(
            "--output is missing; give the video to write, such as out.mp4 (see gamecraft generate --help)"
        )
    runtime = runtime_from(args)
    if runtime.ranks == world_size() == 1:
        return _run(args, args.output, runtime)

    from gamecraft.apply_runtime import resolve_device
    from gamecraft.parallel import ranks_together

    with ranks_together(runtime, resolve_device(runtime.device)), TemporaryDirectory() as unseen:
        return _run(args, args.output if is_writer() else Path(unseen) / "unseen.mp4", runtime)


def _run(args: argparse.Namespace, video: Path, runtime: Runtime) -> int:
    from gamecraft.output_files import OutputFiles
    from gamecraft.sidecar import GenerateSettings

    names = {field.name for field in dataclasses.fields(GenerateSettings)}
    given = {name: value for name, value in vars(args).items() if name in names}
    output = OutputFiles(video=video)
    source: Path | None = getattr(args, "source", None)
    if not getattr(args, "resume", False):
        return _report(_new(given, source, output, runtime))
    if given or source:
        raise InputError("--resume takes all settings from the interrupted generation; give only --output with it")
    return _report(_resumed(output, runtime))


def _new(given: dict[str, Any], source: Path | None, output: "OutputFiles", runtime: Runtime) -> "Generation":
    # What is wrong with the options is said before the libraries are loaded, which takes seconds.
    from gamecraft.inputs import resolve
    from gamecraft.model_folder import check_model_folder
    from gamecraft.sidecar import digest

    settings, known = _settings(given, source)
    index = check_model_folder(settings.model)
    actions = _actions(settings, index.get("fps", 24))
    settings, start = resolve(settings, index.get("chunk_frames", 9))
    output.check_writable()

    from gamecraft.generate import Generation
    from gamecraft.session import Session

    pipe, model = _load(settings, runtime)
    if "model" in known and "model" not in given and known["model"] != model:
        raise InputError(f"{source} was made with another model; give --model to use this one")
    session = Session(pipe)
    session.reset(
        **start,
        prompt=settings.prompt or "",
        negative_prompt=settings.negative_prompt,
        seed=settings.seed,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        smoothing=settings.smoothing,
        height=settings.height,
        width=settings.width,
    )
    picture = digest(session.start.tobytes())
    if "start" in known and not {"image", "video", "height", "width"} & set(given) and known["start"] != picture:
        raise InputError(f"{settings.image or settings.video} is not the start that {source} was made from any more")
    settings = dataclasses.replace(
        settings,
        prompt=settings.prompt or "",
        steps=session.settings.num_inference_steps,
        guidance=session.settings.guidance_scale,
        height=session.start.shape[1],
        width=session.start.shape[2],
    )
    facts = {"model": model, "start": picture}
    return Generation(session=session, actions=actions, settings=settings, output=output, facts=facts, seconds=[])


def _settings(given: dict[str, Any], source: Path | None) -> tuple["GenerateSettings", dict[str, Any]]:
    """The settings of the options, over those of a sidecar, and what the sidecar says besides."""
    from gamecraft.sidecar import GenerateSettings, read_sidecar

    if source is not None:
        earlier, known = read_sidecar(source)
        if {"image", "video"} & set(given):
            earlier = dataclasses.replace(earlier, image=None, video=None)
        return dataclasses.replace(earlier, **given), known
    if "actions" not in given:
        raise InputError('--actions is missing; give a script such as "w 2s, left 10f"')
    return GenerateSettings(**given), {}


def _resumed(output: "OutputFiles", runtime: Runtime) -> "Generation":
    from gamecraft.generate import Generation
    from gamecraft.model_folder import check_model_folder
    from gamecraft.session import Session
    from gamecraft.session_file import read_session
    from gamecraft.sidecar import GenerateSettings
    from gamecraft.training.config import build_config

    if not output.session.is_file():
        raise InputError(f"there is nothing to resume: no {output.session}")
    notes = read_session(output.session)[-1]
    if set(notes) != {"settings", "seconds", "facts"}:
        raise InputError(f"{output.session} was not written by `gamecraft generate`")
    settings = build_config(GenerateSettings, notes["settings"])
    check_model_folder(settings.model)
    output.check_writable()
    for left in output.video.parent.glob(f".{output.video.name}.*.tmp"):
        left.unlink()  # of a process that was killed
    pipe, model = _load(settings, runtime)
    if notes["facts"].get("model") != model:
        raise InputError(f"{output.session} was made with another model; start again without --resume")
    session, _ = Session.load(output.session, pipe)
    return Generation(
        session=session,
        actions=_actions(settings, pipe.config.fps),
        settings=settings,
        output=output,
        facts=notes["facts"],
        seconds=[float(seconds) for seconds in notes["seconds"]],
    )


def _actions(settings: "GenerateSettings", fps: float) -> "list[Action]":
    from gamecraft.inputs import scripted_actions

    return scripted_actions(settings.actions, fps, speed=settings.speed, turn=settings.turn)


def _load(settings: "GenerateSettings", runtime: Runtime) -> tuple[Any, dict[str, str]]:
    """The pipeline, and what identifies its model."""
    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.loading import load_pipeline
    from gamecraft.model_folder import model_digest

    quiet_libraries()
    pipe = load_pipeline(settings.model, runtime=runtime)
    return pipe, {"sha256": model_digest(settings.model)}


def _report(generation: "Generation") -> int:
    """Generate with a progress bar, and say what there is."""
    from gamecraft.commands.progress import frame_progress

    output, asked = generation.output, len(generation.actions)
    with frame_progress(asked) if is_writer() else nullcontext() as on_progress:
        frames = generation.run(on_progress)
    seconds = sum(generation.seconds)
    if not is_writer():
        return 0 if frames == asked else 130
    if frames:
        length = frames / generation.session.pipe.config.fps
        print(f"{output.video}: {frames} frames, {length:.1f} s, at {frames / seconds:.2g} frames/s")
        print(f"{output.sheet}: contact sheet\n{output.sidecar}: settings")
    if frames < asked:
        what = (
            f"stopped after {frames} of {asked} frames; go on with --resume" if frames else "stopped; nothing written"
        )
        print(f"gamecraft generate: {what}", file=sys.stderr)
        return 130
    return 0
